"""Stride: keep evenly spaced tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from tokprune.scorers.ballots import single_ballot
from tokprune.signal import Signal
from tokprune.votes import Votes


@dataclass(frozen=True)
class Stride:
    """Evenly spaced tokens at every keep: down-sampling, the baseline that is stronger than it looks.

    Tokens are scored in bit-reversed order of their index (0, 1/2, 1/4, 3/4, 1/8, ... of the sequence), the van der
    Corput sequence, so any number of kept tokens is spread over the whole range, and the sets are nested.

    Example:
        >>> import torch
        >>> next(Stride()(Signal(tokens=torch.zeros(1, 4, 8)))).values
        tensor([[[4., 2., 3., 1.]]])
    """

    needs: ClassVar[tuple[str, ...]] = ("tokens",)
    by_position: ClassVar[bool] = True
    aggregator: ClassVar[str] = "sum"

    def __call__(self, signal: Signal) -> Iterator[Votes]:
        """Yield one ballot per image."""
        batch, count = signal.shape
        count = int(count)  # a tensor while torch.jit.trace records
        bits = max(1, (count - 1).bit_length())
        turns = [int(f"{index:0{bits}b}"[::-1], 2) for index in range(count)]
        yield single_ballot(count - torch.tensor(turns, device=signal.tokens.device).float().expand(batch, count))
