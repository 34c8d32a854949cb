"""Fold dropped tokens into kept ones."""

from __future__ import annotations

import torch
from torch import Tensor

from tokprune.shapes import check_dims, check_same


def merge_tokens(tokens: Tensor, kept: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Fold every dropped token into its most similar kept one, as a mean weighted by sizes.

    Formula: dropped token d goes to `argmax over kept k of cos(token[d], token[k])`; then
    `token[k] = (size[k] token[k] + sum over d of size[d] token[d]) / (size[k] + sum over d of size[d])`.
    A kept token that receives nothing is returned bit for bit.

    Args:
        tokens: `[batch token dim]`.
        kept: bool `[batch token]`, at least one per row.
        sizes: how many original tokens each token stands for `[batch token]`; None means one each.

    Returns:
        Merged tokens `[batch token dim]` in the dtype of `tokens` (dropped positions unchanged) and sizes
        `[batch token]` float32 (dropped positions 0). The sizes of each row keep their sum.

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
    unit = torch.nn.functional.normalize(values.detach(), dim=-1)
    similarity = torch.matmul(unit, unit.transpose(1, 2)).masked_fill(~kept[:, None, :], float("-inf"))
    own = torch.arange(tokens.shape[1], device=tokens.device).expand_as(kept)
    target = torch.where(kept, own, similarity.argmax(dim=-1))
    new_size = torch.zeros_like(size).scatter_add(1, target, size)
    total = torch.zeros_like(values).scatter_add(1, target[..., None].expand_as(values), values * size[..., None])
    received = (new_size > size) & kept
    merged = total / new_size.clamp(min=torch.finfo(torch.float32).tiny)[..., None]
    return torch.where(received[..., None], merged.to(tokens.dtype), tokens), new_size
