"""Fold dropped tokens into kept ones."""

from __future__ import annotations

import torch
from torch import Tensor

from tokprune.shapes import check_dims, check_same


def merge_tokens(
    tokens: Tensor, kept: Tensor, sizes: Tensor | None = None, assignment: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Fold every dropped token into the kept one of its group, or its most similar one: a mean weighted by sizes.

    Formula: without groups dropped token d goes to `argmax over kept k of cos(token[d], token[k])`; then
    `token[k] = (size[k] token[k] + sum over d of size[d] token[d]) / (size[k] + sum over d of size[d])`.
    A kept token that receives nothing is returned bit for bit.

    Args:
        tokens: `[batch token dim]`.
        kept: bool `[batch token]`, at least one per row.
        sizes: how many original tokens each token stands for `[batch token]`; None means one each.
        assignment: int `[batch token]`, the number (0 .. k-1, in order) of the kept token into whose group each token
            goes; -1 for one that goes into none. A kept token is in its own group.

    Returns:
        Merged tokens `[batch token dim]` in the dtype of `tokens` (dropped positions unchanged) and sizes
        `[batch token]` float32 (dropped positions 0). The sizes of each row keep their sum, but for tokens in no group.

    Source: ToMe's size-weighted average, arXiv 2210.09461, section 3, with cosine similarity of the tokens themselves.

    Example:
        >>> tokens = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [3.0, 0.0]]])
        >>> merged, sizes = merge_tokens(tokens, torch.tensor([[True, True, False]]))
        >>> merged[0, 0], sizes
        (tensor([2., 0.]), tensor([[2., 1., 0.]]))
    """
    check_dims("merge_tokens", "tokens", tokens, "batch token dim")
    check_same("merge_tokens", "kept [batch token]", tuple(tokens.shape[:2]), tuple(kept.shape))
    size = torch.ones_like(kept, dtype=torch.float32) if sizes is None else sizes.float()
    values = tokens.float()
    target = _most_similar(values, kept) if assignment is None else _heads(kept, assignment)
    given = size if assignment is None else size * (assignment >= 0)
    new_size = torch.zeros_like(size).scatter_add(1, target, given)
    total = torch.zeros_like(values).scatter_add(1, target[..., None].expand_as(values), values * given[..., None])
    received = (new_size > size) & kept
    merged = total / new_size.clamp(min=torch.finfo(torch.float32).tiny)[..., None]
    return torch.where(received[..., None], merged.to(tokens.dtype), tokens), new_size


def group_sizes(kept: Tensor, assignment: Tensor, sizes: Tensor | None = None) -> Tensor:
    """How many original tokens the group of each kept token stands for, 0 for dropped tokens.

    Args:
        kept: bool `[batch token]`.
        assignment: as of `merge_tokens`.
        sizes: as of `merge_tokens`.

    Returns:
        `[batch token]` float32.

    Example:
        >>> group_sizes(torch.tensor([[True, False, True]]), torch.tensor([[0, 1, 1]]))
        tensor([[1., 0., 2.]])
    """
    size = torch.ones_like(kept, dtype=torch.float32) if sizes is None else sizes.float()
    return torch.zeros_like(size).scatter_add(1, _heads(kept, assignment), size * (assignment >= 0))


def _heads(kept: Tensor, assignment: Tensor) -> Tensor:
    """The kept token of each token's group, as its place; of no use where there is no group."""
    places = (~kept).to(torch.uint8).argsort(dim=1, stable=True)  # kept ones first; their number is not read back
    return places.gather(1, assignment.long().clamp(min=0))


def _most_similar(values: Tensor, kept: Tensor) -> Tensor:
    """The kept token that is most similar to each token, as its place; a kept one's own."""
    unit = torch.nn.functional.normalize(values.detach(), dim=-1)
    similarity = torch.matmul(unit, unit.transpose(1, 2)).masked_fill(~kept[:, None, :], float("-inf"))
    own = torch.arange(values.shape[1], device=values.device).expand_as(kept)
    return torch.where(kept, own, similarity.argmax(dim=-1))
