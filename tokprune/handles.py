"""Handles: several policies on one model, checked and removed as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, overload

from tokprune.handle import Handle
from tokprune.report import Report


class Handles(Sequence[Handle]):
    """What `tokprune.apply` returns for a list of policies: their handles, in the order given.

    Also a context manager that removes them all.

    Args:
        handles: handles of one model, one per target.
    """

    def __init__(self, handles: Sequence[Handle]) -> None:
        self._handles = tuple(handles)

    @property
    def active(self) -> bool:
        """Whether any of the policies still sits on the model."""
        return any(handle.active for handle in self)

    @property
    def reports(self) -> dict[str, Report | None]:
        """Target -> what the last pruned call did to its tokens, or None before the first."""
        return {handle.target: handle.report for handle in self}

    def remove(self) -> None:
        """Take all of them off the model, the last one first. Calling it again does nothing."""
        with ExitStack() as stack:  # goes on with the others if one fails
            for handle in self:
                stack.callback(handle.remove)

    def check(self, inputs: dict[str, Any]) -> dict[str, Report]:
        """Prove on one batch that each policy works, with the others in place; see `Handle.check`.

        Returns:
            Target -> the report of the pruned forward.
        """
        return {handle.target: handle.check(inputs) for handle in self}

    def __len__(self) -> int:
        return len(self._handles)

    @overload
    def __getitem__(self, index: int) -> Handle: ...
    @overload
    def __getitem__(self, index: slice) -> list[Handle]: ...
    def __getitem__(self, index: int | slice) -> Handle | list[Handle]:
        return list(self._handles[index]) if isinstance(index, slice) else self._handles[index]

    def __iter__(self) -> Iterator[Handle]:
        return iter(self._handles)

    def __enter__(self) -> Handles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"Handles([{', '.join(map(repr, self))}])"
