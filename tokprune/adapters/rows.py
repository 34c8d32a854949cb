"""Shorten the rows of a batch to the positions that stay, padding those that keep fewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rows:
    """Which positions of each row stay, and where they go.

    Attributes:
        index: `[row length]`, the old position of each new one.
        valid: bool `[row length]`, False where a row kept fewer positions than the longest one.
        before: the old length.
    """

    index: Tensor
    valid: Tensor
    before: int

    @property
    def length(self) -> int:
        """The new length."""
        return self.index.shape[1]

    @classmethod
    def of(cls, kept: Tensor, pad: Literal["left", "right"]) -> Rows:
        """Plan to keep the positions where `kept` (bool `[row sequence]`) is True, in their order."""
        length = int(kept.sum(dim=1).max())
        if pad == "left":
            index = kept.long().sort(dim=1, stable=True).indices[:, kept.shape[1] - length :]
        else:
            index = (~kept).long().sort(dim=1, stable=True).indices[:, :length]
        return cls(index, kept.gather(1, index), kept.shape[1])

    def take(self, values: Tensor, fill: float) -> Tensor:
        """The kept positions of `values` (`[row sequence ...]`), with `fill` where a row has fewer."""
        index, valid = self.index.to(values.device), self.valid.to(values.device)
        extra = values.dim() - 2
        index = index.view(*index.shape, *(1,) * extra).expand(*index.shape, *values.shape[2:])
        return values.gather(1, index).masked_fill(~valid.view(*valid.shape, *(1,) * extra), fill)
