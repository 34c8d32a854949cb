"""What every cut is: hooks and shims on a model that come together or not at all, and leave together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from tokprune.adapters.calls import leave_call
from tokprune.adapters.modules import MethodShim
from tokprune.adapters.shape import Relied, check_shape
from tokprune.interfaces import Cut, Observed


class Attached:
    """A cut on a model.

    A seam prepares everything it needs in its constructor, checks it, and then calls `_attach`.

    Args:
        model: the whole model.
        cut: what to do.
        done: is told what was done, once for each call.
        owner: whose cut it is.
    """

    def __init__(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> None:
        self.model, self.cut, self.done, self.owner = model, cut, done, owner
        # Plain objects with a `remove`, no closures: so that a deep copy of the model gets an undo of its own.
        self._undo: list[Any] = []

    def _attach(self) -> None:
        """Put every hook and shim on the model; if one cannot be put there, none stays.

        Raises:
            AdapterError: the installed transformers has not the shape that is relied on.
        """
        check_shape(self.model, f"target {self.cut.target!r}", self._relies())
        try:
            self._install(self._undo)
        except BaseException:
            self.remove()
            raise

    def _relies(self) -> Iterable[Relied]:
        """What the cut reads, replaces or stands in for, by the names that the model's library gives it."""
        raise NotImplementedError

    def _install(self, undo: list[Any]) -> None:
        """Put hooks and shims on the model, and append what takes each of them off to `undo`."""
        raise NotImplementedError

    def _shim(self, module: nn.Module, name: str, around: Callable[..., Any]) -> None:
        """Let `around` stand in for the method `name` of `module`."""
        shim = MethodShim(module, name, around)
        shim.install()
        self._undo.append(shim)

    def remove(self) -> None:
        """Take every hook and shim off the model; calling it again does nothing."""
        while self._undo:
            self._undo.pop().remove()
        leave_call(self)  # one that an interrupt left behind
