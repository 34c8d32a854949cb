"""L2 norm: long vectors matter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from tokprune.scorers.ballots import single_ballot
from tokprune.signal import Signal
from tokprune.votes import Votes


@dataclass(frozen=True)
class L2Norm:
    """Euclidean length of each target token's vector.

    For BLIP-2's query tokens: of each Q-Former output, before the projection into the language model.

    Source: baseline in CATP, arXiv 2404.08567, section 4.

    Example:
        >>> L2Norm().needs
        ('tokens',)
    """

    needs: ClassVar[tuple[str, ...]] = ("tokens",)
    aggregator: ClassVar[str] = "sum"

    def __call__(self, signal: Signal) -> Iterator[Votes]:
        """Yield one ballot per image."""
        yield single_ballot(signal.tokens.detach().float().norm(dim=-1))
