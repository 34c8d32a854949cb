"""A sequence inside a language model from which tokens left between two layers: what the layers behind are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.rows import Rows


@dataclass(frozen=True, eq=False)
class Shorter:
    """Which positions of each row go on.

    A row that keeps fewer than the longest is filled up in front with positions that nobody sees.

    Attributes:
        rows: the positions that go on.
    """

    rows: Rows

    @classmethod
    def of(cls, stays: Tensor, lengths: Sequence[int]) -> Shorter:
        """Let only the positions of `stays` (bool `[row sequence]`) go on, `lengths` of them in each row."""
        return cls(Rows.of(stays, "left", lengths))

    @classmethod
    def hiding(cls, stays: Tensor) -> Shorter:
        """Let all positions go on, but hide those that do not stay."""
        return cls(Rows.hiding(stays))

    @property
    def batch(self) -> int:
        """How many rows there are."""
        return self.rows.batch

    def picked(self, pick: Callable[[Tensor], Tensor]) -> Shorter:
        """The same of other rows, which `pick` takes from each tensor `[row ...]`."""
        return Shorter(self.rows.picked(pick))

    def states(self, states: Tensor) -> Tensor:
        """Of the vectors `[row sequence dim]` those that go on."""
        return self.rows.take(states, 0.0)

    def restored(self, states: Tensor) -> Tensor:
        """Vectors `[row sequence dim]` for all old positions, from those that went on."""
        return self.rows.restored(states)

    def positions(self, values: Tensor) -> Tensor:
        """Of something said of each position, `[row sequence ...]` or the same for all rows, what is said of those."""
        return self.rows.take(values.expand(self.rows.index.shape[0], *values.shape[1:]), 0)

    def prompt_mask(self, mask: Tensor | None) -> Tensor | None:
        """The mask of the prompt `[row 1 query key]`, None where attention is causal by itself."""
        index = self.rows.index
        if mask is not None:
            mask = _taken(mask.expand(index.shape[0], -1, -1, -1), index.to(mask.device), 2)
        return self._mask(mask, index, index, self.rows.valid)

    def later_mask(self, mask: Tensor | None, queries: int, total: int) -> Tensor | None:
        """The mask `[row 1 query key]` of what comes behind the prompt: `queries` tokens, the last of `total`."""
        index, valid = self.rows.index, self.rows.valid
        new = torch.arange(self.rows.before, total, device=index.device).expand(index.shape[0], -1)
        if valid is not None:
            valid = torch.cat([valid, torch.ones_like(new, dtype=torch.bool)], dim=1)
        last = torch.arange(total - queries, total, device=index.device).expand(index.shape[0], -1)
        if mask is not None:
            mask = mask.expand(index.shape[0], -1, -1, -1)
        return self._mask(mask, last, torch.cat([index, new], dim=1), valid)

    def _mask(self, mask: Tensor | None, query: Tensor, key: Tensor, valid: Tensor | None) -> Tensor | None:
        """The columns `key` of `mask`, those that are not valid hidden from all but themselves."""
        if mask is None and valid is None:
            return None
        if mask is None:
            mask = (key[:, None, :] <= query[:, :, None])[:, None]
        else:
            key, query = key.to(mask.device), query.to(mask.device)
            mask = _taken(mask, key, 3)
        if valid is None:
            return mask
        # Whoever sees nobody at all would get no number from the softmax.
        seen = (valid.to(mask.device)[:, None, :] | (key[:, None, :] == query[:, :, None]))[:, None]
        return mask & seen if mask.dtype == torch.bool else mask.masked_fill(~seen, torch.finfo(mask.dtype).min)


def _taken(mask: Tensor, index: Tensor, dim: int) -> Tensor:
    """Rows (2) or columns (3) of a mask `[row 1 query key]`."""
    shape: list[Any] = list(mask.shape)
    shape[dim] = index.shape[1]
    index = index[:, None, :, None] if dim == 2 else index[:, None, None, :]
    return mask.gather(dim, index.expand(shape))
