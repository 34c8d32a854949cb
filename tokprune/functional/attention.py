"""Attention probabilities from queries and keys, and the attention that a token receives."""

from __future__ import annotations

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.functional.sums import wide_dtype
from tokprune.shapes import check_dims


def attention_probabilities(query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """Softmax attention in float32, whatever the dtype of the model.

    Formula: `softmax over k of (scale * query . key + mask)`. Half-precision probabilities tie in up to half of all
    columns, and ties are lost votes, so the computation is done in float32.

    Args:
        query: `[batch head query dim]`; a batch of 1 is broadcast.
        key: `[batch head key dim]`; fewer heads than `query` are repeated (grouped-query attention).
        scale: factor on the dot products, usually `dim ** -0.5`.
        mask: bool (True = may attend) or additive float, broadcastable to `[batch head query key]`; None for none.

    Returns:
        `[batch head query key]`, float32, each row summing to one (a row that may attend to nothing is all zero).

    Example:
        >>> q = torch.tensor([[[[1.0, 0.0]]]]); k = torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]])
        >>> attention_probabilities(q, k, scale=1.0)
        tensor([[[[0.5000, 0.5000]]]])
    """
    check_dims("attention_probabilities", "query", query, "batch head query dim")
    check_dims("attention_probabilities", "key", key, "batch head key dim")
    if query.shape[1] % key.shape[1]:
        raise InvalidValueError(
            f"attention_probabilities: {query.shape[1]} query heads cannot share {key.shape[1]} key heads evenly"
        )
    attention = attention_logits(query, key, scale, mask).softmax(dim=-1)
    return attention if mask is None else attention.nan_to_num(0.0)


def attention_logits(query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """What `attention_probabilities` takes the softmax of, for the same arguments."""
    query, key = query.detach().float(), key.detach().float()
    if query.shape[1] != key.shape[1]:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    logits = torch.matmul(query, key.transpose(-1, -2)) * scale
    if mask is None:
        return logits
    return logits.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else logits + mask.float()


def received_attention(attention: Tensor) -> Tensor:
    """How much attention each token receives, summed over heads and queries.

    Formula: `received[b, k] = sum over h, q of attention[b, h, q, k]`.

    Args:
        attention: probabilities `[batch head query key]`.

    Returns:
        `[batch key]`, float32; each row sums to `heads * queries`.

    Source: SpAtten's cumulative token importance, arXiv 2012.09852, section III-A; also CATP's image-token weights
    before their softmax, arXiv 2404.08567.

    Example:
        >>> received_attention(torch.tensor([[[[0.9, 0.1], [0.5, 0.5]]]]))
        tensor([[1.4000, 0.6000]])
    """
    check_dims("received_attention", "attention", attention, "batch head query key")
    return attention.detach().sum(dim=(1, 2), dtype=wide_dtype(attention)).float()
