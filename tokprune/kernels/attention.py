"""The two public functions: check the input, choose a backend, count."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from tokprune.kernels.backends import Backend
from tokprune.kernels.choice import count
from tokprune.kernels.inputs import AttentionInput


def attention_points(
    query: Tensor,
    key: Tensor,
    scale: float,
    mask: Tensor | None = None,
    *,
    candidates: Literal["query", "key"],
    weights: Tensor | None = None,
    protected: int = 0,
    backend: Backend = "auto",
) -> Tensor:
    """Borda points that the other side of an attention layer gives each candidate.

    Formula: with `p = attention_probabilities(query, key, scale, mask)`, for `candidates="query"`
    `points[b, q] = sum over h, k of weights[b, h * K + k] * rank of p[b, h, q, k] along q`, average ranks from 0 on
    (CATP: the keys rank the queries); for `candidates="key"` likewise with the queries ranking the keys.

    Args:
        query: `[batch head query dim]`; a batch of 1 is broadcast.
        key: `[batch head key dim]`; a batch of 1 is broadcast, fewer heads are repeated.
        scale: factor on the dot products.
        mask: bool (True = may attend) or additive float, broadcastable to `[batch head query key]`; None for none.
        candidates: which side is ranked, by the other one.
        weights: `[batch voter]`, voters ordered head by head; None for one vote each.
        protected: how many tokens at the start of the candidate side are no candidates; they take part in the softmax.
        backend: "auto", "reference" or "triton".

    Returns:
        `[batch token]`, float32, over the candidates without the protected ones.

    Raises:
        InvalidValueError: shapes that do not fit, or an unknown backend.
        BackendError: "triton" was asked for by name and cannot be had here.

    Source: CATP, arXiv 2404.08567, section 3.

    Example:
        >>> import torch
        >>> query = torch.tensor([[[[0.0], [1.0]]]]); key = torch.tensor([[[[0.0], [1.0], [2.0]]]])
        >>> attention_points(query, key, 1.0, candidates="query")
        tensor([[2., 1.]])
    """
    given = AttentionInput.checked("attention_points", query, key, scale, mask, candidates, weights, protected)
    return count("attention_points", "points", given, backend)


def attention_total(
    query: Tensor,
    key: Tensor,
    scale: float,
    mask: Tensor | None = None,
    *,
    candidates: Literal["query", "key"],
    weights: Tensor | None = None,
    protected: int = 0,
    backend: Backend = "auto",
) -> Tensor:
    """Probabilities that each candidate gets from the voters, summed: received attention for `candidates="key"`.

    Formula: with `p = attention_probabilities(query, key, scale, mask)`, for `candidates="key"`
    `total[b, k] = sum over h, q of weights[b, h * Q + q] * p[b, h, q, k]`; for `candidates="query"` the sum is over
    `h, k`.

    Args:
        query: `[batch head query dim]`; a batch of 1 is broadcast.
        key: `[batch head key dim]`; a batch of 1 is broadcast, fewer heads are repeated.
        scale: factor on the dot products.
        mask: bool (True = may attend) or additive float, broadcastable to `[batch head query key]`; None for none.
        candidates: which side is scored, by the other one.
        weights: `[batch voter]`, voters ordered head by head; None for one vote each.
        protected: how many tokens at the start of the candidate side are no candidates; they take part in the softmax.
        backend: "auto", "reference" or "triton".

    Returns:
        `[batch token]`, float32, over the candidates without the protected ones.

    Raises:
        InvalidValueError: shapes that do not fit, or an unknown backend.
        BackendError: "triton" was asked for by name and cannot be had here.

    Source: SpAtten's cumulative token importance, arXiv 2012.09852, section III-A.

    Example:
        >>> import torch
        >>> query = key = torch.zeros(1, 1, 4, 2)
        >>> attention_total(query, key, 1.0, candidates="key")
        tensor([[1., 1., 1., 1.]])
    """
    given = AttentionInput.checked("attention_total", query, key, scale, mask, candidates, weights, protected)
    return count("attention_total", "total", given, backend)
