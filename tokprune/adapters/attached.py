"""An attachment: hooks, shims and taps that come to a model together or not at all, and leave together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.calls import leave_call
from tokprune.adapters.entrance import Entrance, Running, Underway
from tokprune.adapters.hooks import MethodShim, parts_on
from tokprune.adapters.shape import Relied, check_shape
from tokprune.adapters.unpruned import Brought
from tokprune.compiled import forget_compiled, guard_hooks, release_hooks
from tokprune.errors import UnprunedWarning
from tokprune.interfaces import Cut, Observed


class Attached:
    """A policy on a model.

    Those that inherit prepare everything they need in their constructor, check it, and then call `_attach`.

    Args:
        model: the whole model.
        cut: what to do.
        done: called with what was done, once for each call.
        owner: whose attachment it is, such as a handle.
    """

    methods: ClassVar[tuple[str, ...]] = ("generate",)
    """Methods of the model that users call beside `forward`."""

    never: ClassVar[tuple[str, ...]] = ()
    """Arguments that carry what is never pruned here."""

    stages: ClassVar[bool] = False
    """Whether other policies may prune the same target at other places: in front of it, or after it."""

    def __init__(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> None:
        self.model, self.cut, self.owner = model, cut, owner
        self._tell = done
        self.nothing_to_prune: str | None = None
        """In words, that the last call brought nothing that can be pruned; None if it did."""
        self._warned = False
        self.reads: nn.Module | None = None
        """The part of the model that reads whole prompts too, if users call it by itself."""
        self.underway = Underway(model)
        # Plain objects with a `remove`, no closures: so that a deep copy of the model gets an undo of its own.
        self._undo: list[Any] = []

    @property
    def sits(self) -> bool:
        """Whether calls are pruned."""
        return self.underway.is_open

    @property
    def shortened(self) -> Sequence[int] | slice | None:
        """Which layers of the cache hold the shorter sequence; None where the cache is another's, or there is none."""
        return None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the attachment of a copy of the model."""
        self.__dict__.update(state)
        guard_hooks(self)

    def _attach(self, *doors: nn.Module) -> None:
        """Put every hook and shim on the model; if one cannot be put there, none stays.

        Args:
            doors: modules beside the model itself whose call may be a call of its own.

        Raises:
            AdapterError: the installed transformers has not the shape that is relied on.
        """
        check_shape(self.model, f"target {self.cut.target!r}", self._relies())
        try:
            guard_hooks(self)
            self._install(self._undo)
            self._enclose(dict.fromkeys((self.model, *doors)))
            self.underway.open()
        except BaseException:
            self.remove()
            raise

    def _enclose(self, doors: Iterable[nn.Module]) -> None:
        """Let each call of these modules be a call of its own, and of the model's methods that users call."""
        entrances = {each.module: each for each in self._undo if isinstance(each, Entrance)}
        for module in doors:
            if module not in entrances:
                entrances[module] = Entrance(self, module)
                entrances[module].install(self._undo)
        for name in self.methods:
            if hasattr(self.model, name):
                Entrance(self, self.model, name=name).install(self._undo)
        entrances[self.model].watch(self._undo)

    def _relies(self) -> Iterable[Relied]:
        """What the attachment reads, replaces or stands in for, by the names that the model's library gives it."""
        raise NotImplementedError

    def _install(self, undo: list[Any]) -> None:
        """Put hooks and shims on the model, and append what takes each of them off to `undo`."""
        raise NotImplementedError

    def done(self, observed: Observed) -> None:
        """Tell what was done, and note that something was."""
        call = self.underway.running
        if call is not None and call.brought is not None:
            call.brought.pruned = True
        self._tell(observed)

    def begins(self, call: Running, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Look at a call that begins: the report of an earlier one holds no longer, unless it goes on from that."""
        call.brought = Brought.by(call.method, args, kwargs)
        if not call.brought.goes_on and hasattr(self.owner, "forget_report"):
            self.owner.forget_report()

    def ended(self, call: Running, module: nn.Module) -> None:
        """Warn once of what an outermost call brought that was not pruned; `module` is what was called."""
        self.nothing_to_prune = call.brought.nothing(self.model, self.never)
        reason = call.brought.unpruned(self.model, module, self.never, module is self.reads)
        if reason is not None and not self._warned:
            self._warned = True
            warnings.warn(reason, UnprunedWarning, stacklevel=2)

    def left(self) -> None:
        """An outermost call is over, however it ended."""

    def _shim(self, module: nn.Module, name: str, around: Callable[..., Any]) -> None:
        """Let `around` stand in for the method `name` of `module`."""
        self._put(MethodShim(module, name, around))

    def _put(self, shim: MethodShim) -> None:
        shim.install(self._undo)

    def remove(self) -> None:
        """Prune no call any more that begins from now on, and take every hook and shim off the model.

        They are taken off when the last call ends that began pruned: at once if there is none. Calling it again
        finishes what was interrupted, and else does nothing.
        """
        if self.underway.close():
            self.take_off()

    def take_off(self) -> None:
        """Take every hook and shim off the model now."""
        for each in reversed(self._undo):
            each.remove()
        for module in self.model.modules():  # also those that were put there by others, in a copy of a module
            for part in list(parts_on(module)):
                if part.attachment is self:
                    part.take_off(module)
        self._undo.clear()
        release_hooks(self)
        leave_call(self)  # one that an interrupt left
        forget_compiled()


def attachments_on(model: nn.Module) -> list[Attached]:
    """The attachments that have hooks, shims or taps on `model`."""
    found = (part.attachment for module in model.modules() for part in parts_on(module))
    return list(dict.fromkeys(attachment for attachment in found if attachment is not None))
