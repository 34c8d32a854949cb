"""Handles: several policies on one model, checked and removed as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, overload

from tokprune.errors import InvalidValueError
from tokprune.handle import Handle
from tokprune.report import Report, in_stages


def by_target(handles: Sequence[Handle]) -> dict[str, list[Handle]]:
    """Target -> its handles, in the order in which tokens pass their places."""
    found: dict[str, list[Handle]] = {}
    for handle in handles:
        found.setdefault(handle.target, []).append(handle)
    return {target: sorted(each, key=lambda h: h.order) if len(each) > 1 else each for target, each in found.items()}


def together(reports: Sequence[Report | None]) -> Report | None:
    """The report of all stages of one target, or None if a stage has none."""
    whole = [report for report in reports if report is not None]
    return in_stages(whole) if len(whole) == len(reports) else None


class Handles(Sequence[Handle]):
    """What `tokprune.apply` returns for a list of policies: their handles, in the order given.

    Also a context manager that removes them all.

    Args:
        handles: handles of one model; several for one target prune it in stages.
    """

    def __init__(self, handles: Sequence[Handle]) -> None:
        self._handles = tuple(handles)

    @property
    def active(self) -> bool:
        """Whether any of the policies still sits on the model."""
        return any(handle.active for handle in self)

    @property
    def reports(self) -> dict[str, Report | None]:
        """Target -> what the last pruned call did to its tokens, in all stages; None before the first.

        It is about the tokens that the first stage met; `Report.stages` has the reports of each.
        """
        return {target: together([handle.report for handle in stages]) for target, stages in by_target(self).items()}

    @property
    def report(self) -> Report | None:
        """The report of the only target.

        Raises:
            InvalidValueError: there are several targets.
        """
        found = self.reports
        if len(found) > 1:
            raise InvalidValueError(
                f"there are reports of several targets: take handles.reports[...], of {list(found)}"
            )
        return next(iter(found.values()))

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
        found = {id(handle): handle.check(inputs) for handle in self}
        every = {target: [found[id(handle)] for handle in stages] for target, stages in by_target(self).items()}
        return {target: in_stages(reports) if len(reports) > 1 else reports[0] for target, reports in every.items()}

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
