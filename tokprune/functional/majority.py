"""Voting rules that look at first places (plurality) or at pairwise majorities (Copeland)."""

from __future__ import annotations

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.functional.sums import exact_sum, wide_dtype
from tokprune.shapes import check_dims, check_same


def plurality_scores(votes: Tensor, weights: Tensor | None = None) -> Tensor:
    """How many voters like a token best; tied favourites share the voter's one point.

    Args:
        votes: `[batch voter token]`, higher means keep.
        weights: `[batch voter]`, or None for one vote each.

    Returns:
        `[batch token]`, float32; each batch row sums to the weight of all voters.

    Example:
        >>> plurality_scores(torch.tensor([[[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]]]))
        tensor([[0.5000, 1.5000, 0.0000]])
    """
    check_dims("plurality_scores", "votes", votes, "batch voter token")
    if weights is not None:
        check_same("plurality_scores", "weights [batch voter]", tuple(votes.shape[:2]), tuple(weights.shape))
    favourite = votes == votes.amax(dim=-1, keepdim=True)
    return exact_sum(favourite.to(wide_dtype(votes)) / favourite.sum(dim=-1, keepdim=True), weights)


def pairwise_margins(votes: Tensor, weights: Tensor | None = None) -> Tensor:
    """By how much weight voters prefer each token to each other one.

    Formula: `margin[b, s, t] = sum over v of weights[b, v] * sign(vote[b, v, s] - vote[b, v, t])`.

    Args:
        votes: `[batch voter token]`.
        weights: `[batch voter]`, or None.

    Returns:
        `[batch token token]`, float64 (float32 on MPS), antisymmetric. Weighted margins are rounded to 2^-40 (2^-16 in
        float32) of the weight of all voters: what is a draw must not depend on the order in which weights are added up.

    Example:
        >>> pairwise_margins(torch.tensor([[[0.1, 0.7]]]))[0].tolist()
        [[0.0, -1.0], [1.0, 0.0]]
    """
    check_dims("pairwise_margins", "votes", votes, "batch voter token")
    if weights is not None:
        check_same("pairwise_margins", "weights [batch voter]", tuple(votes.shape[:2]), tuple(weights.shape))
    batch, voters, tokens = votes.shape
    wide = wide_dtype(votes)
    margins = votes.new_zeros(batch, tokens, tokens, dtype=wide)
    # A slice of voters at a time: the comparison is tokens times larger than the votes.
    step = max(1, 2**22 // max(1, batch * tokens * tokens))
    for start in range(0, voters, step):
        one, other = votes[:, start : start + step, :, None], votes[:, start : start + step, None, :]
        prefers = (one > other).to(wide) - (one < other).to(wide)  # a difference of infinite votes would be NaN
        if weights is not None:
            prefers = prefers * weights[:, start : start + step, None, None].to(wide)
        margins += prefers.sum(dim=1)
    if weights is None:
        return margins  # whole numbers, exact as they are
    fine = 40 if wide == torch.float64 else 16
    everybody = weights.to(wide).abs().sum(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    grid = torch.exp2(everybody.log2().floor() - fine)[:, None, None]
    return (margins / grid).round() * grid


def copeland_scores(margins: Tensor) -> Tensor:
    """How many other tokens a token beats in a pairwise majority; a draw counts one half.

    Args:
        margins: `[batch token token]` as from `pairwise_margins`; margins of several layers may be added first.

    Returns:
        `[batch token]`, float32, in `0 .. T-1`.

    Source: A. H. Copeland, 1951.

    Example:
        >>> copeland_scores(pairwise_margins(torch.tensor([[[0.1, 0.7, 0.2], [0.3, 0.6, 0.1]]])))
        tensor([[0.5000, 2.0000, 0.5000]])
    """
    check_dims("copeland_scores", "margins", margins, "batch token token")
    if margins.shape[1] != margins.shape[2]:
        raise InvalidValueError(f"copeland_scores: margins must be square, got {tuple(margins.shape)}")
    draws = (margins == 0).sum(dim=-1) - 1  # a token always draws with itself
    return (margins > 0).sum(dim=-1).float() + draws.float() / 2
