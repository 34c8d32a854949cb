"""Where calls of a pruned model begin and end, and which of them run: each ends as it began, however it ends."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import Proxy

from tokprune.adapters.calls import Observation, PerOwner, current_call, enclosed, enter_call, leave_call
from tokprune.adapters.hooks import Hook, MethodShim
from tokprune.errors import AdapterError, UnsupportedCallError


@dataclass(eq=False)
class Running:
    """One run of a method that an `Entrance` stands in for.

    Attributes:
        method: the method.
        outermost: whether it is part of no other.
        pruned: whether it is an outermost one that is pruned from its beginning to its end.
        opened: whether it opened a call of the attachment.
        around: the call of the attachment that it is nested in.
        brought: what it brought that could be pruned; None before that was looked at.
        returned: whether the method returned.
    """

    method: Callable[..., Any]
    outermost: bool = False
    pruned: bool = False
    opened: bool = False
    around: Any = None
    brought: Any = None
    returned: bool = False


class Underway:
    """The outermost calls of a model that run with one attachment, each in its own context.

    Two threads need no lock: a call is noted before it looks whether the attachment is open, and that is closed before
    it looks whether there are calls.

    Args:
        model: the whole model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.is_open = self.is_closed = False
        self._pruned: set[Running] = set()
        self._before: set[int] = set()

    def open(self) -> None:
        """From now on calls are pruned, except those that run already."""
        self._before = {thread for thread in sys._current_frames() if _runs(thread, self.model, _CALLS)}
        self.is_open = True

    def close(self) -> bool:
        """From now on no call begins pruned. Returns whether none of those that did is left."""
        self.is_open, self.is_closed = False, True
        return not self._pruned

    def admits(self) -> bool:
        """Whether what happens in this context is to be pruned."""
        call = _RUNNING.get(self)
        if call is None:  # a part that runs by itself, or in a call that began before the attachment was there
            return self.is_open and not self._began_before(None)
        return call.pruned

    @property
    def running(self) -> Running | None:
        """The outermost call that runs in this context, if it is pruned."""
        call = _RUNNING.get(self)
        return call if call is not None and call.pruned else None

    def enter(self, call: Running, module: nn.Module) -> bool:
        """Begin `call` of `module`, unless it is part of one. Returns whether it is pruned from here."""
        if _RUNNING.get(self) is not None:
            return False
        call.outermost = True
        self._pruned.add(call)
        _RUNNING.set(self, call)
        call.pruned = self.is_open and not self._began_before(module)
        if not call.pruned:
            self._pruned.discard(call)
        return call.pruned

    def leave(self, call: Running) -> bool:
        """End `call`. Returns whether the attachment is closed and this was the last call that it waited for."""
        if _RUNNING.get(self) is call:
            _RUNNING.pop(self)
        self._pruned.discard(call)
        return call.outermost and self.is_closed and not self._pruned

    def _began_before(self, module: nn.Module | None) -> bool:
        """Whether the call that comes to `module` (None: a part) is part of one that began before the attachment."""
        thread = threading.get_ident()
        if thread not in self._before:
            return False
        if _runs(thread, self.model, _GENERATES if module is self.model else _CALLS):
            return True
        self._before.discard(thread)
        return False

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in self.__dict__.items() if name not in ("_pruned", "_before")}
        return state  # calls do not go with a copy

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _pruned=set(), _before=set())


class Entrance(MethodShim):
    """Stands in for a method of a module: a call of it is one call of `owner`, and ends however the method ends.

    It runs inside of the hooks that others put on the module. So what fully_shard and accelerate bring is there, and a
    hook that looks at the output sees what goes on. A direct call of `module.forward` comes here as well.

    Args:
        owner: the attachment.
        module: the module.
        begin: called with the module, its arguments and its keyword arguments; enters a call if it wants to, and
            returns other arguments or None. What opens calls is passed over inside of one that a `with` block encloses.
        end: called with the call that is under way and the output, if the method returns one; returns another output
            or None.
        name: name of the method.
        opens: whether what `begin` enters is a call of its own that ends here; else it may go on elsewhere.
        calls: whose calls are entered: a part of the attachment with calls of its own, or None for the attachment.
    """

    steps = ("_begun", "_enter", "_finish", "_leave")

    def __init__(
        self,
        owner: Any,
        module: nn.Module,
        begin: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any] | None = None,
        end: Callable[[Any, Any], Any] | None = None,
        *,
        name: str = "forward",
        opens: bool = True,
        calls: object | None = None,
    ) -> None:
        super().__init__(module, name, owner)
        self.owner, self.begin, self.end, self.opens = owner, begin, end, opens
        self.calls = owner if calls is None else calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method: the compiler may enter that, and nothing else here."""
        call = self._begun()
        try:
            try:
                args, kwargs = self._enter(call, args, kwargs)
                output = self._finish(call, call.method(*args, **kwargs))
            finally:
                self._leave(call)
        finally:  # again, for an interrupt at the end of the first
            self._leave(call)
        return output

    def _begun(self) -> Running:
        return Running(self.original)

    def _enter(self, call: Running, args: Any, kwargs: Any) -> tuple[Any, Any]:
        leave_call(self)
        if self.removed:
            return args, kwargs
        if self.owner.underway.enter(call, self.module):
            self.owner.begins(call, args, kwargs)
        if not self.owner.underway.admits():
            return args, kwargs
        refuse_vmap()
        refuse_symbols((*args, *kwargs.values()))
        if self.begin is None or self._within():
            return args, kwargs
        if self.opens:
            call.opened, call.around = True, leave_call(self.calls)
        changed = self.begin(self.module, args, kwargs)
        return (args, kwargs) if changed is None else changed

    def _finish(self, call: Running, output: Any) -> Any:
        own = None if self.end is None or self.removed or self._within() else current_call(self.calls)
        changed = None if own is None or self.end is None else self.end(own, output)
        call.returned = True
        if call.pruned:
            self.owner.ended(call, self.module)
        return output if changed is None else changed

    def _within(self) -> bool:
        """Whether a call would be opened inside of one that a `with` block encloses."""
        return self.opens and enclosed(self.calls)

    def _leave(self, call: Running) -> None:
        if call.opened or not call.returned:
            leave_call(self.calls)
        if call.around is not None:
            enter_call(self.calls, call.around)
        if call.outermost:
            self.owner.left()
        if self.owner.underway.leave(call):
            self.owner.take_off()

    def watch(self, undo: list[Any]) -> None:
        """Notice on the module what would go past: a replica, and a `forward` that others put back."""
        undo.append(self.module.register_forward_pre_hook(Hook(self._comes, every=True)))
        undo.append(self.module.register_forward_hook(Hook(self._went, every=True), always_call=True))

    def _comes(self, module: nn.Module, args: Any) -> None:
        if module is not self.module:
            raise UnsupportedCallError(
                f"this {type(module).__name__} is a replica, as torch.nn.DataParallel makes them; the policy sits on "
                "the module that it was made of; use DistributedDataParallel, or call handle.remove() first"
            )
        enter_call(self, Observation())  # `_enter` ends it

    def _went(self, module: nn.Module, args: Any, output: Any) -> None:
        if leave_call(self) is not None and output is not None and self.owner.underway.is_open:
            raise AdapterError(
                f"forward of this {type(module).__name__} was replaced after tokprune.apply, by one that goes past the "
                "policy, so nothing was pruned; call handle.remove(), and then tokprune.apply again"
            )


_RUNNING: PerOwner[Running] = PerOwner("tokprune_running")
_GENERATES = ("generate",)
_CALLS = ("_call_impl", "forward", *_GENERATES, "__call__")
"""Names of functions whose `self` is the model, or an `Entrance` of another policy on it."""


def _runs(thread: int, model: nn.Module, names: tuple[str, ...]) -> bool:
    """Whether one of these functions is on the stack of a thread, for `model`."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_code.co_name in names:
            caller = frame.f_locals.get("self")
            if caller is model or (isinstance(caller, Entrance) and caller.module is model):
                return True
        frame = frame.f_back
    return False


def refuse_vmap() -> None:
    """Raise `UnsupportedCallError` inside `torch.func.vmap`, and what is made of it, such as `jacrev`."""
    functorch = torch._C._functorch
    levels = functorch.get_interpreter_stack() or ()
    if any(level.key() == functorch.TransformType.Vmap for level in levels):
        raise UnsupportedCallError(
            "torch.func.vmap (jacrev, jacfwd and hessian use it) makes one call for many inputs, and which tokens each "
            "of them keeps cannot be read in it; call the model once for each, or call handle.remove() first"
        )


def refuse_symbols(values: Iterable[Any]) -> None:
    """Raise `UnsupportedCallError` where `torch.fx.symbolic_trace` passes symbols in place of tensors."""
    if any(isinstance(value, Proxy) for value in values):
        raise UnsupportedCallError(
            "torch.fx.symbolic_trace of a pruned model: expected tensors, got symbols (torch.fx.Proxy), and hooks "
            "choose tokens by numbers that a symbol does not have; call handle.remove() first (or trace before "
            "tokprune.apply), or record the pruned model with torch.jit.trace"
        )
