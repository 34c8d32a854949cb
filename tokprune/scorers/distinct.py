"""Distinct: a token far from the image's mean says something that the others do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from tokprune.scorers.ballots import single_ballot
from tokprune.signal import Signal
from tokprune.votes import Votes


@dataclass(frozen=True)
class Distinct:
    """Euclidean distance of each target token from the mean of its image's target tokens.

    Example:
        >>> import torch
        >>> next(Distinct()(Signal(tokens=torch.tensor([[[0.0], [0.0], [3.0]]])))).values
        tensor([[[1., 1., 2.]]])
    """

    needs: ClassVar[tuple[str, ...]] = ("tokens",)
    aggregator: ClassVar[str] = "sum"

    def __call__(self, signal: Signal) -> Iterator[Votes]:
        """Yield one ballot per image."""
        tokens = signal.tokens.detach().float()
        yield single_ballot((tokens - tokens.mean(dim=1, keepdim=True)).norm(dim=-1))
