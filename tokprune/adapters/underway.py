"""Which calls run through a cut: each ends as it began, even if the cut comes or goes in the middle of it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from torch import nn

from tokprune.adapters.calls import PerOwner


@dataclass(eq=False)
class Running:
    """One outermost call.

    Attributes:
        module: the module whose hooks begin and end it, or the `Door` whose `around` does.
        thread: where it runs.
        pruned: whether it is pruned from its beginning to its end.
        depth: how many calls of `module` it consists of, one in another.
        ended: whether it is over.
        brought: what it brought that could be pruned; None before that was looked at.
    """

    module: object
    thread: int
    pruned: bool = False
    depth: int = 1
    ended: bool = False
    brought: Any = None

    def lives(self) -> bool:
        """Whether it still runs: torch runs no hook after an interrupt (`KeyboardInterrupt` is no `Exception`)."""
        return not self.ended and _runs(self.thread, self.module, _BEGUN)


class Underway:
    """The calls of a model that run through one cut, each in its own context.

    Two threads need no lock: a call is noted before it looks whether the cut is open, and a cut is closed before it
    looks whether there are calls.

    Args:
        model: the whole model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.is_open = False
        self._pruned: set[Running] = set()
        self._before: set[int] = set()

    def open(self) -> None:
        """From now on calls are pruned, except those that run already."""
        self._before = {thread for thread in sys._current_frames() if _runs(thread, self.model, _OUTER)}
        self.is_open = True

    def close(self) -> bool:
        """From now on no call begins pruned. Returns whether none of those that did is left."""
        self.is_open = False
        self._pruned = {call for call in self._pruned if call.lives()}
        return not self._pruned

    def admits(self) -> bool:
        """Whether what happens in this context is to be pruned."""
        call = _RUNNING.get(self)
        if call is None or call.ended:  # a part that runs by itself, or in a call that began before the cut was there
            return self.is_open and not self._began_before(None)
        return call.pruned

    @property
    def running(self) -> Running | None:
        """The outermost call that runs in this context, if it is pruned."""
        call = _RUNNING.get(self)
        return call if call is not None and call.pruned and not call.ended else None

    def enter(self, module: object) -> bool:
        """Begin a call of `module`, or go deeper into the one that runs in this context. Returns whether one began."""
        call = _RUNNING.get(self)
        if call is not None and call.lives():
            call.depth += call.module is module
            return False
        if call is not None:
            self._pruned.discard(call)
        call = Running(module, threading.get_ident())
        self._pruned.add(call)
        call.pruned = self.is_open and not self._began_before(module)
        if not call.pruned:
            self._pruned.discard(call)
        _RUNNING.set(self, call)
        return True

    def leave(self, module: object) -> bool:
        """End a call of `module`. Returns whether the cut is closed and this was the last call that it waited for."""
        call = _RUNNING.get(self)
        if call is None or call.module is not module:
            return False
        call.depth -= 1
        if call.depth:
            return False
        call.ended = True
        _RUNNING.pop(self)
        self._pruned.discard(call)
        return not self.is_open and not self._pruned

    def _began_before(self, module: object) -> bool:
        """Whether the call that comes to `module` (None: a part) is part of one that began before the cut was there."""
        thread = threading.get_ident()
        if thread not in self._before or not isinstance(module, nn.Module | None):
            return False
        if _runs(thread, self.model, _GENERATES if module is self.model else _OUTER):
            return True
        self._before.discard(thread)
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self.model, "is_open": self.is_open}  # calls do not go with a copy

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _pruned=set(), _before=set())


_RUNNING: PerOwner[Running] = PerOwner("tokprune_running")
_CALLED, _GENERATES = ("_call_impl",), ("generate",)
_BEGUN = (*_CALLED, "around")
"""Names of functions of torch, transformers and `Door` whose `self` is what is called."""
_OUTER = (*_CALLED, *_GENERATES, "around of")
"""The same, and that of another policy's `Door` to a method of it: what it computes may come before the method runs."""


def _runs(thread: int, module: object, names: tuple[str, ...]) -> bool:
    """Whether one of these methods of `module` is on the stack of a thread."""
    for frame in _stack(sys._current_frames().get(thread)):
        name = frame.f_code.co_name
        if name in names and frame.f_locals.get("self") is module:
            return True
        if f"{name} of" in names and getattr(frame.f_locals.get("self"), "module", None) is module:
            return True
    return False


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
