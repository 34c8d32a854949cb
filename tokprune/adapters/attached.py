"""What every cut is: hooks and shims on a model that come together or not at all, and leave together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.calls import leave_call
from tokprune.adapters.doors import Door
from tokprune.adapters.hooks import Hook, guard_hooks, release_hooks
from tokprune.adapters.modules import MethodShim
from tokprune.adapters.shape import Relied, check_shape
from tokprune.adapters.tap import Tap, taps_on
from tokprune.adapters.underway import Running, Underway
from tokprune.adapters.unpruned import Brought
from tokprune.compiled import forget_compiled
from tokprune.errors import UnprunedWarning
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

    methods: ClassVar[tuple[str, ...]] = ("generate",)
    """Methods of the model that users call beside `forward`."""

    never: ClassVar[tuple[str, ...]] = ()
    """Arguments that carry what is never pruned here."""

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
        """Become the cut on a copy of the model."""
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
            for module in dict.fromkeys((self.model, *doors)):
                Door(self, module, self.methods if module is self.model else ()).install(self._undo)
            self.underway.open()
        except BaseException:
            self.remove()
            raise

    def _relies(self) -> Iterable[Relied]:
        """What the cut reads, replaces or stands in for, by the names that the model's library gives it."""
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

    def begins(self, method: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Look at a call that begins: what was told of an earlier one holds no longer, unless it goes on from that."""
        call = self.underway.running
        if call is None:
            return
        call.brought = Brought.by(method, args, kwargs)
        if not call.brought.goes_on and hasattr(self.owner, "forget_report"):
            self.owner.forget_report()

    def ended(self, call: Running | None, module: nn.Module) -> None:
        """Warn once of what a call brought that was not pruned.

        Args:
            call: the outermost call, if it is pruned.
            module: what was called.
        """
        if call is None or not call.ended or call.brought is None:
            return
        self.nothing_to_prune = call.brought.nothing(self.model, self.never)
        reason = call.brought.unpruned(self.model, module, self.never, module is self.reads)
        if reason is not None and not self._warned:
            self._warned = True
            warnings.warn(reason, UnprunedWarning, stacklevel=2)

    def _shim(self, module: nn.Module, name: str, around: Callable[..., Any]) -> None:
        """Let `around` stand in for the method `name` of `module`."""
        self._put(MethodShim(module, name, around))

    def _put(self, shim: MethodShim) -> None:
        self._undo.append(shim)
        shim.install()

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
            for found in list(_parts(module)):
                if found.attachment is self:
                    _take_away(module, found)
        self._undo.clear()
        release_hooks(self)
        leave_call(self)  # one that an interrupt left behind
        forget_compiled()


def attachments_on(model: nn.Module) -> list[Attached]:
    """The cuts that have hooks or shims on `model`."""
    found = (part.attachment for module in model.modules() for part in _parts(module))
    return list(dict.fromkeys(attachment for attachment in found if attachment is not None))


_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_ABOUT_HOOKS = (*_HOOKS, "_forward_pre_hooks_with_kwargs", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")


def _parts(module: nn.Module) -> Iterator[Any]:
    """The hooks and shims of cuts on one module."""
    for name in _HOOKS:
        yield from (hook for hook in tuple(getattr(module, name).values()) if isinstance(hook, Hook))
    yield from (value for value in tuple(module.__dict__.values()) if isinstance(value, MethodShim))
    yield from taps_on(module)


def _take_away(module: nn.Module, part: Any) -> None:
    if isinstance(part, MethodShim):
        part.remove()
        return
    if isinstance(part, Tap):
        part.take_off(module)
        return
    for number in [number for name in _HOOKS for number, hook in getattr(module, name).items() if hook is part]:
        for name in _ABOUT_HOOKS:
            getattr(module, name).pop(number, None)
