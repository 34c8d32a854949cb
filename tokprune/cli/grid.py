"""The grid of a bench: every scorer at every keep, with every treatment that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from tokprune.after import After

if TYPE_CHECKING:
    from tokprune.bench.contest import Contestant


@dataclass(frozen=True)
class Grid:
    """What all scorers of a bench are asked.

    Args:
        keeps: How much stays.
        target: Which tokens may go; None for the adapter's default.
        treatments: Field of `Policy` -> its values; a field without values is left to its default.
    """

    keeps: Sequence[float | int]
    target: str | None = None
    treatments: Mapping[str, Sequence[After | str]] = field(default_factory=dict)

    def contestants(self, scorers: Mapping[str, str | None]) -> list[Contestant]:
        """One contestant for each of the label -> scorer pairs, each treatment and each keep.

        Raises:
            InvalidValueError: A name or a value that no policy can have.
        """
        from tokprune import Policy
        from tokprune.bench.contest import Contestant

        given = {name: dict.fromkeys(values) for name, values in self.treatments.items() if values}
        treatments: list[dict[str, Any]] = [dict(zip(given, each, strict=True)) for each in product(*given.values())]
        return [
            Contestant(label, Policy(scorer=spec, keep=keep, target=self.target, **treatment))
            for label, spec in scorers.items()
            for treatment in treatments
            for keep in self.keeps
        ]
