"""First: keep the first k tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from tokprune.scorers.ballots import single_ballot
from tokprune.signal import Signal
from tokprune.votes import Votes


@dataclass(frozen=True)
class First:
    """The earlier a token, the higher its score: keep the first k. A baseline that looks at nothing.

    Example:
        >>> import torch
        >>> next(First()(Signal(tokens=torch.zeros(1, 3, 8)))).values
        tensor([[[3., 2., 1.]]])
    """

    needs: ClassVar[tuple[str, ...]] = ("tokens",)
    by_position: ClassVar[bool] = True
    aggregator: ClassVar[str] = "sum"

    def __call__(self, signal: Signal) -> Iterator[Votes]:
        """Yield one ballot per image."""
        batch, count = signal.shape
        yield single_ballot(torch.arange(count, 0, -1, device=signal.tokens.device).float().expand(batch, count))
