"""A sequence inside a language model from which tokens left: what the layers after that are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.rows import Rows
from tokprune.adapters.sizes import Sizes
from tokprune.adapters.upstream import LAYER_BIAS, LAYER_MASK, LAYER_POSITIONS


@dataclass(frozen=True, eq=False)
class Later:
    """A call that goes on after a prompt that was shortened, as one layer sees it.

    Attributes:
        queries: how many tokens come.
        total: how many there are with them, had nothing left.
        width: how many keys the layer sees, those of its cache and the new ones.
        real: bool `[row token]`, what is no padding; None if nothing is.
        window: how many tokens a token sees at most, its own included; None for all.
        trusted: whether the mask that the layer is given was made for the whole sequence.
        form: the type of masks: bool, or that of what is added to the logits.
    """

    queries: int
    total: int
    width: int
    real: Tensor | None
    window: int | None
    trusted: bool
    form: torch.dtype


@dataclass(frozen=True, eq=False)
class Shorter:
    """Which positions of each row go on.

    A row that keeps fewer than the longest is filled up in front with positions that no other token sees.

    Attributes:
        rows: the positions that go on, counted in the whole prompt.
        sizes: how many tokens each of them stands for; None if each does for itself, or attention is plain.
    """

    rows: Rows
    sizes: Sizes | None = None

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
        return Shorter(self.rows.picked(pick), None if self.sizes is None else self.sizes.picked(pick))

    def weighing(self, sizes: Tensor) -> Shorter:
        """The same where the positions of the whole prompt stand for `sizes` tokens `[row sequence]`."""
        return replace(self, sizes=Sizes(sizes).taken(self.rows))

    def inverse(self) -> Tensor:
        """Where each position of the whole prompt stands in the shorter one `[row sequence]`; 0 for those that left."""
        index = self.rows.index
        order = torch.arange(index.shape[1], device=index.device).expand(index.shape)
        if self.rows.valid is not None:
            order = order.masked_fill(~self.rows.valid, 0)
        none = torch.zeros(len(index), self.rows.before, dtype=torch.long, device=index.device)
        return none.scatter_reduce(1, index, order, "amax")

    def states(self, states: Tensor, earlier: Shorter | None) -> Tensor:
        """The vectors `[row token dim]` that go on, of those that `earlier` let come here."""
        if earlier is None:
            return self.rows.take(states, 0.0)
        return replace(self.rows, index=earlier.inverse().gather(1, self.rows.index)).take(states, 0.0)

    def restored(self, states: Tensor) -> Tensor:
        """Vectors `[row sequence dim]` for all old positions, from those that went on."""
        return self.rows.restored(states)

    def prompt(
        self, given: Mapping[str, Any], causal: bool, form: torch.dtype, earlier: Shorter | None = None
    ) -> dict[str, Any]:
        """Of the arguments of a layer that reads the whole prompt those that become others.

        Args:
            given: the arguments.
            causal: whether a token does not see what comes after it.
            form: the type of masks: bool, or that of what is added to the logits.
            earlier: the sequence that came to the pruning point; None for the whole one.
        """
        found = {name: self.positions(given[name]) for name in LAYER_POSITIONS if given.get(name) is not None}
        bias = given.get(LAYER_BIAS)
        if bias is not None and bias.shape[3] == self.rows.before:
            found[LAYER_BIAS] = _square(bias, self.rows.index)
        elif bias is not None and bias.shape[3] != self.rows.length and earlier is not None:
            # Each layer hands it to the next, so that it comes as an earlier pruning point left it.
            found[LAYER_BIAS] = _square(bias, earlier.inverse().gather(1, self.rows.index))
        found[LAYER_MASK] = self.prompt_mask(given.get(LAYER_MASK), causal, form)
        return found

    def positions(self, values: Any) -> Any:
        """Of something said of each position, `[row sequence]` or `[... row sequence dim]`, what is said of those."""
        if isinstance(values, tuple | list):
            return type(values)(self.positions(each) for each in values)
        if values.dim() > 3:
            return torch.stack([self.positions(each) for each in values])
        return self.rows.take(values.expand(self.batch, *values.shape[1:]), 0)

    def prompt_mask(self, mask: Tensor | None, causal: bool, form: torch.dtype) -> Tensor | None:
        """The mask `[row 1 query key]` of the prompt; None where attention needs none."""
        index, valid = self.rows.index, self.rows.valid
        if mask is not None:
            mask = _square(mask, index)
        elif valid is None:
            return None
        else:
            seen = index[:, None, None, :] <= index[:, None, :, None] if causal else valid.new_ones(1, 1, 1, 1)
            mask = _masked(seen, form)
        return self._hidden(mask, index, index, valid)

    def later_mask(self, mask: Tensor | None, later: Later) -> Tensor | None:
        """The mask `[row 1 query key]` of what comes after the prompt."""
        index, valid = self.rows.index, self.rows.valid
        new = torch.arange(self.rows.before, later.total, device=index.device).expand(index.shape[0], -1)
        key = torch.cat([index, new], dim=1)[:, -later.width :]
        if valid is not None:
            valid = torch.cat([valid, torch.ones_like(new, dtype=torch.bool)], dim=1)[:, -later.width :]
        query = torch.arange(later.total - later.queries, later.total, device=index.device).expand(index.shape[0], -1)
        if later.trusted and mask is not None:
            # It may be about the last tokens only, as far back as the layers in front of the pruning point remember.
            columns = key - (later.total - mask.shape[3])
            mask = _taken(mask.expand(len(index), -1, -1, -1), columns.clamp(min=0).to(mask.device), 3)
            if later.total > mask.shape[3]:
                mask = _without(mask, (columns >= 0).to(mask.device)[:, None, None])
            return self._hidden(mask, query, key, valid)
        if later.trusted and valid is None:
            return None
        seen = key[:, None, None, :] <= query[:, None, :, None]
        if later.window is not None:
            seen = seen & (key[:, None, None, :] > query[:, None, :, None] - later.window)
        if later.real is not None and not later.trusted:
            real = later.real.to(key.device)
            real = torch.nn.functional.pad(real, (0, later.total - real.shape[1]), value=True)
            seen = seen & real.gather(1, key)[:, None, None]
        return self._hidden(_masked(seen, later.form), query, key, valid)

    def _hidden(self, mask: Tensor, query: Tensor, key: Tensor, valid: Tensor | None) -> Tensor:
        """`mask` in which keys that are not valid are hidden from all but themselves."""
        if valid is None:
            return mask
        # A query that sees no key at all would get no number from the softmax.
        seen = valid[:, None, None, :] | (key[:, None, None, :] == query[:, None, :, None])
        return _without(mask, seen.to(mask.device))


def _without(mask: Tensor, seen: Tensor) -> Tensor:
    """`mask` in which only what is `seen` is not hidden."""
    return mask & seen if mask.dtype == torch.bool else mask.masked_fill(~seen, torch.finfo(mask.dtype).min)


def _masked(seen: Tensor, form: torch.dtype) -> Tensor:
    """A mask of the type `form` that hides what is not `seen`."""
    if form == torch.bool:
        return seen
    return torch.zeros(seen.shape, dtype=form, device=seen.device).masked_fill(~seen, torch.finfo(form).min)


def _taken(values: Tensor, index: Tensor, dim: int) -> Tensor:
    """Rows (2) or columns (3) of values `[row head query key]`."""
    shape: list[Any] = list(values.shape)
    shape[dim] = index.shape[1]
    index = index[:, None, :, None] if dim == 2 else index[:, None, None, :]
    return values.gather(dim, index.expand(shape))


def _square(values: Tensor, index: Tensor) -> Tensor:
    """Of `[row head query key]` the queries and keys `index` `[row n]`; one row, or one query, may stand for all."""
    index = index.to(values.device)
    values = values.expand(len(index), -1, -1, -1)
    if values.shape[2] > 1:
        values = _taken(values, index, 2)
    return _taken(values, index, 3)
