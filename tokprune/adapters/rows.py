"""Shorten the rows of a batch to the positions that stay, padding those that keep fewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tokprune.functional import kept_index


@dataclass(frozen=True, eq=False)
class Rows:
    """Which positions of each row stay, and where they go.

    Attributes:
        index: `[row length]`, the old position of each new one.
        valid: bool `[row length]`, False where a row kept fewer positions than the longest one; None if none did.
        before: the old length.
    """

    index: Tensor
    valid: Tensor | None
    before: int

    @property
    def length(self) -> int:
        """The new length."""
        return self.index.shape[1]

    @classmethod
    def of(cls, kept: Tensor, pad: Literal["left", "right"], lengths: Sequence[int] | None = None) -> Rows:
        """Plan to keep the positions where `kept` (bool `[row sequence]`) is True, in their order.

        `lengths` says how many those are in each row, where that is known beforehand; else they are counted, for which
        the host has to wait for the device.
        """
        if lengths is None:
            lengths = kept.sum(dim=1).tolist()
        length = max(lengths)
        if min(lengths) == length:
            return cls(kept_index(kept, length), None, kept.shape[1])
        if pad == "left":
            index = kept.to(torch.uint8).sort(dim=1, stable=True).indices[:, kept.shape[1] - length :]
        else:
            index = kept_index(kept, length)
        return cls(index, kept.gather(1, index), kept.shape[1])

    def take(self, values: Tensor, fill: float) -> Tensor:
        """The kept positions of `values` (`[row sequence ...]`), with `fill` where a row has fewer."""
        index = self.index.to(values.device)
        extra = (1,) * (values.dim() - 2)
        taken = values.gather(1, index.view(*index.shape, *extra).expand(*index.shape, *values.shape[2:]))
        if self.valid is None:
            return taken
        return taken.masked_fill(~self.valid.to(values.device).view(*index.shape, *extra), fill)
