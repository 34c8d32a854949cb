"""Proportional attention as arithmetic: a bias on the logits of each key, by a mask or without one."""

from __future__ import annotations

from math import log2

import torch
from torch import Tensor


def biased_mask(query: Tensor, key: Tensor, mask: Tensor | None, bias: Tensor, *, causal: bool) -> Tensor:
    """The mask `[row 1 query key]` that is added to the logits, with `bias` `[row key]` on its columns.

    Args:
        query: `[row head query dim]`.
        key: `[row key_head key dim]`.
        mask: bool or additive, or None.
        bias: what to add for each key.
        causal: whether the implementation would hide later keys if there is no mask.

    Example:
        >>> q, k = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)
        >>> biased_mask(q, k, None, torch.tensor([[1.0, 0.0]]), causal=False)
        tensor([[[[1., 0.]]]])
    """
    columns = bias[:, None, None].to(query.dtype)
    lowest = torch.finfo(query.dtype).min
    if mask is None:
        if not causal:
            return columns
        # As torch's `is_causal`: the first query sees the first key, whatever comes after the last query is hidden.
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()[None, None]
    mask = mask[..., : key.shape[2]]
    return torch.where(mask, columns, lowest) if mask.dtype == torch.bool else mask + columns


def with_coordinates(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Queries, keys and values that attend with `bias` `[row key]`, for kernels that take no mask.

    The bias becomes two more coordinates of each key (what the precision holds of it, and the rest), a constant for
    each query; zeros fill up to a multiple of 8, which kernels want. Also the width that values had before.

    Example:
        >>> q, k, v = (torch.randn(1, 2, 3, 8) for _ in range(3))
        >>> bias = torch.rand(1, 3)
        >>> attend = torch.nn.functional.scaled_dot_product_attention
        >>> wide = attend(*with_coordinates(q, k, v, bias, 0.5)[:3], scale=0.5)[..., :8]
        >>> torch.allclose(wide, attend(q, k, v, attn_mask=bias[:, None, None], scale=0.5), atol=1e-5)
        True
    """
    width = value.shape[-1]
    one = 2.0 ** round(-log2(scale))  # a power of two, so that half precision holds it
    wanted = bias[:, None, :, None].float() / (scale * one)
    coarse = wanted.to(key.dtype)
    fine = (wanted - coarse.float()).to(key.dtype)
    filled = -(query.shape[-1] + 2) % 8
    key = torch.cat([key, *(each.expand(-1, key.shape[1], -1, -1) for each in (coarse, fine))], dim=-1)
    query = torch.cat([query, query.new_full((*query.shape[:-1], 2), one)], dim=-1)
    wider = query.shape[-1] + filled - width
    pad = torch.nn.functional.pad
    return pad(query, (0, filled)), pad(key, (0, filled)), pad(value, (0, wider)), width
