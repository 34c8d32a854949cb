"""Shorten the rows of a batch to the positions that stay, padding those that keep fewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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

    @classmethod
    def hiding(cls, kept: Tensor) -> Rows:
        """Plan to keep all positions in place, and to hide those where `kept` (bool `[row sequence]`) is False."""
        own = torch.arange(kept.shape[1], device=kept.device).expand(kept.shape)
        return cls(own, kept, kept.shape[1])

    @property
    def source(self) -> Tensor:
        """For each old position `[row sequence]` the new one that stands for it.

        Itself, or the last one before it that stayed, because that is what the model would go on from; the first one
        that stayed, where none did before.
        """
        new = torch.arange(self.length, device=self.index.device).expand(self.index.shape)
        if self.valid is not None:
            new = new.masked_fill(~self.valid, -1)
        place = new.new_full((len(new), self.before), -1).scatter(1, self.index, new)
        latest = place.cummax(dim=1).values
        first = place.masked_fill(place < 0, self.length - 1).amin(dim=1, keepdim=True)
        return torch.where(latest < 0, first, latest)

    def restored(self, values: Tensor, last: int | None = None) -> Tensor:
        """Values for the `last` old positions (None: for all), from those of the new positions `[row length ...]`.

        Of the new positions, too, only the last may be given, as many as `last` at least.
        """
        wanted = self.source if last is None else self.source[:, -last:]
        index = (wanted - (self.length - values.shape[1])).to(values.device)
        extra = (1,) * (values.dim() - 2)
        return values.gather(1, index.view(*index.shape, *extra).expand(*index.shape, *values.shape[2:]))

    @property
    def batch(self) -> int:
        """How many rows there are."""
        return self.index.shape[0]

    def picked(self, pick: Callable[[Tensor], Tensor]) -> Rows:
        """The same of other rows, which `pick` takes from each tensor `[row ...]`."""
        return replace(self, index=pick(self.index), valid=None if self.valid is None else pick(self.valid))

    def take(self, values: Tensor, fill: float) -> Tensor:
        """The kept positions of `values` (`[row sequence ...]`), with `fill` where a row has fewer."""
        index = self.index.to(values.device)
        extra = (1,) * (values.dim() - 2)
        taken = values.gather(1, index.view(*index.shape, *extra).expand(*index.shape, *values.shape[2:]))
        if self.valid is None:
            return taken
        return taken.masked_fill(~self.valid.to(values.device).view(*index.shape, *extra), fill)
