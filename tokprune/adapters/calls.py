"""State of one call of a pruned model, kept in a context variable: two threads or two models never mix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from weakref import ref

from torch import Tensor

Value = TypeVar("Value")


@dataclass(kw_only=True)
class Observation:
    """What the hooks have seen so far in one call."""

    vectors: Tensor | None = None
    """The target tokens' vectors `[image token dim]`."""
    halves: dict[tuple[str, int], dict[str, Tensor]] = field(default_factory=dict)
    """Queries or keys of a layer whose other half has not come yet."""
    votes: dict[str, dict[int, Any]] = field(default_factory=dict)
    states: dict[str, Tensor] = field(default_factory=dict)
    """Signal -> vectors of all tokens of an encoder `[row token dim]`."""
    done: bool = False
    """Tokens were pruned: what comes later is left alone."""
    enclosed: bool = False
    """A `with` block ends the call, whatever happens in it."""


class PerOwner(Generic[Value]):
    """A value in each context for each owner. It goes with its owner: another object never finds it."""

    def __init__(self, name: str) -> None:
        self._all: ContextVar[Mapping[int, tuple[ref[Any], Value]]] = ContextVar(name, default=MappingProxyType({}))

    def get(self, owner: object) -> Value | None:
        """The value of `owner`, or None."""
        found = self._all.get().get(id(owner))
        return found[1] if found is not None and found[0]() is owner else None

    def set(self, owner: object, value: Value) -> None:
        """Give `owner` a value, in place of the one it may have."""
        self._all.set({**self.left(), id(owner): (ref(owner), value)})

    def pop(self, owner: object) -> Value | None:
        """Take the value of `owner` away and return it, or None."""
        value = self.get(owner)
        self._all.set({key: found for key, found in self.left().items() if found[0]() is not owner})
        return value

    @contextmanager
    def nothing(self) -> Iterator[None]:
        """Let no owner have a value; afterwards each has what it had."""
        token = self._all.set(MappingProxyType({}))
        try:
            yield
        finally:
            self._all.reset(token)

    def left(self) -> dict[int, tuple[ref[Any], Value]]:
        """What there is in this context, of owners that are still there."""
        return {key: found for key, found in self._all.get().items() if found[0]() is not None}


_CALLS: PerOwner[Any] = PerOwner("tokprune_calls")


def current_call(owner: object) -> Any:
    """The call of `owner` that is under way in this context, or None."""
    return _CALLS.get(owner)


def enter_call(owner: object, call: Observation) -> None:
    """Begin a call of `owner`, in the place of one that may be under way."""
    _CALLS.set(owner, call)


def enclosed(owner: object) -> bool:
    """Whether a `with` block ends the call of `owner` that is under way; False if there is none."""
    call = current_call(owner)
    return call is not None and call.enclosed


def leave_call(owner: object) -> Any:
    """End the call of `owner` and return it; None if there is none."""
    return _CALLS.pop(owner)


@contextmanager
def during_call(owner: object, call: Observation) -> Iterator[None]:
    """Let `call` of `owner` be under way, and end it even if it is interrupted."""
    call.enclosed = True
    enter_call(owner, call)
    try:
        yield
    finally:
        leave_call(owner)


@contextmanager
def no_calls() -> Iterator[None]:
    """Let no call be under way: what code of the user calls is a call of its own. Afterwards all is as it was."""
    with _CALLS.nothing():
        yield
