"""Random: the baseline that every other scorer has to beat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import torch

from tokprune.errors import InvalidValueError, brief
from tokprune.functional.chunks import is_traced
from tokprune.scorers.ballots import single_ballot
from tokprune.signal import Signal
from tokprune.votes import Votes


@dataclass(frozen=True)
class Random:
    """Uniformly random scores, drawn anew from the seed in every call and the same for every image of a batch.

    One seed is one set of positions: a result must not depend on an image's place in the batch. Average over several
    seeds to compare with other scorers.

    Args:
        seed: any int; the same seed gives the same scores on every device.

    Example:
        >>> Random(seed=1)
        Random(seed=1)
    """

    seed: int = 0

    needs: ClassVar[tuple[str, ...]] = ("tokens",)
    by_position: ClassVar[bool] = True
    aggregator: ClassVar[str] = "sum"

    def __post_init__(self) -> None:
        seed: object = self.seed
        if isinstance(seed, bool) or not isinstance(seed, Integral) or not -(2**63) <= int(seed) < 2**64:
            raise InvalidValueError(f"random: seed must be an int of 64 bits, got {brief(seed)}")
        object.__setattr__(self, "seed", int(seed))

    def __call__(self, signal: Signal) -> Iterator[Votes]:
        """Yield one ballot per image."""
        batch, count = signal.shape
        draw = torch.rand(count, generator=torch.Generator().manual_seed(self.seed))
        if is_traced():  # it would record that numbers are drawn, without the seed
            draw = torch.tensor(draw.tolist())
        yield single_ballot(draw.to(signal.tokens.device).expand(batch, count))
