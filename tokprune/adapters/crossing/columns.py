"""Which columns of a cross-attention stay: keys, values and masks are shortened alike, call by call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tokprune.adapters.rows import Rows
from tokprune.adapters.sizes import Sizes
from tokprune.errors import UnsupportedCallError


@dataclass(frozen=True, eq=False)
class Columns:
    """What stays of the tokens that a decoder cross-attends to, for one generation.

    Attributes:
        rows: which tokens of each row.
        states: their vectors `[row kept dim]`, what keys and values are made of.
        hidden: dropped tokens that stay in their places and are hidden instead, bool `[row token]`; None where dropped
            tokens are gone.
        sizes: how many tokens each that stays stands for; None if each does for itself, or attention is plain.
    """

    rows: Rows
    states: Tensor
    hidden: Tensor | None = None
    sizes: Sizes | None = None

    @property
    def batch(self) -> int:
        """How many rows there are."""
        return self.rows.batch

    def picked(self, pick: Callable[[Tensor], Tensor]) -> Columns:
        """The same of other rows, which `pick` takes from each tensor `[row ...]`."""
        hidden = None if self.hidden is None else pick(self.hidden)
        sizes = None if self.sizes is None else self.sizes.picked(pick)
        return Columns(self.rows.picked(pick), pick(self.states), hidden, sizes)

    @property
    def whole(self) -> bool:
        """Whether nothing changes at all."""
        return self.hidden is None and self.rows.valid is None and self.rows.length == self.rows.before

    def masked(self, mask: Tensor | None, text: int) -> Tensor | None:
        """A mask of the full width for the tokens that stay; a new one where gaps need it.

        Args:
            mask: `[row 1 text token]` or `[row token]`, bool, additive or 0 and 1; None for none.
            text: how many text tokens there are.
        """
        shut = self.hidden
        if shut is None and self.rows.valid is not None:
            shut = ~self.rows.valid
        if mask is None:
            if shut is None:
                return None
            mask = self.states.new_zeros(len(shut), 1, text, shut.shape[1])
        elif self.hidden is None:
            index = self.rows.index.to(mask.device)
            if mask.shape[0] not in (1, len(index)):
                raise UnsupportedCallError(
                    f"the mask has {mask.shape[0]} rows where {len(index)} were pruned: rows of the batch came or went "
                    "during a generation"
                )
            index = index.view(len(index), *(1,) * (mask.dim() - 2), -1)
            shape = (len(index), *mask.shape[1:-1], index.shape[-1])
            mask = mask.expand(len(index), *mask.shape[1:]).gather(-1, index.expand(shape))
        if shut is None:
            return mask
        shut = shut.to(mask.device).view(len(shut), *(1,) * (mask.dim() - 2), -1)
        return mask.masked_fill(shut, torch.finfo(mask.dtype).min if mask.is_floating_point() else 0)
