"""Borda count: every voter ranks the tokens, and a token's points are the number of tokens ranked below it."""

from __future__ import annotations

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.functional.chunks import spans
from tokprune.functional.ranking import count_points, rank, room_for
from tokprune.shapes import check_dims, check_same


def average_ranks(votes: Tensor) -> Tensor:
    """Rank of each token on each ballot, 0 for the lowest vote, ties sharing their average rank.

    Formula: `rank[b, v, t] = #{u: vote[u] < vote[t]} + (#{u != t: vote[u] = vote[t]}) / 2`, which is
    `scipy.stats.rankdata(vote, method="average") - 1`. Unlike `argsort(argsort(x))` it commutes with every
    permutation of the tokens, also when there are ties (half-precision attention is full of them).

    Args:
        votes: `[batch voter token]`, any floating dtype; NaN is undefined.

    Returns:
        `[batch voter token]`, float32, in `0 .. T-1`.

    Example:
        >>> average_ranks(torch.tensor([[[0.1, 0.7, 0.1, 0.3]]]))
        tensor([[[0.5000, 3.0000, 0.5000, 2.0000]]])
    """
    check_dims("average_ranks", "votes", votes, "batch voter token")
    votes = votes.detach()
    by_token = votes.transpose(1, 2)
    room = room_for(by_token)
    ranks = votes.new_empty(votes.shape, dtype=torch.float32)
    for some in spans(votes.shape[0], room // max(1, votes.shape[1])):
        for who in spans(votes.shape[1], room):
            ranks[some, who] = rank(by_token[some, :, who]).transpose(1, 2)
    return ranks


def borda_scores(votes: Tensor, weights: Tensor | None = None) -> Tensor:
    """Borda points of each token, summed over the voters.

    Formula: `score[b, t] = sum over v of weights[b, v] * rank[b, v, t]` with average ranks `0 .. T-1`. Each voter hands
    out `weight * T(T-1)/2` points. The weight belongs on the points: a positive factor on a ballot *before* ranking
    cannot change any rank.

    Args:
        votes: `[batch voter token]`, higher means keep.
        weights: `[batch voter]`, or None for one vote each.

    Returns:
        `[batch token]`, float32.

    Raises:
        InvalidValueError: wrong number of dimensions, or weights that do not match the voters.

    Source: J.-C. de Borda, 1781; as CATP's "cross-attention voting" in arXiv 2404.08567, section 3.

    Example:
        >>> borda_scores(torch.tensor([[[0.1, 0.7, 0.2], [0.3, 0.6, 0.1]]]))
        tensor([[1., 4., 1.]])
    """
    check_dims("borda_scores", "votes", votes, "batch voter token")
    if weights is not None:
        check_same("borda_scores", "weights [batch voter]", tuple(votes.shape[:2]), tuple(weights.shape))
    return count_points(votes.detach().transpose(1, 2), weights).float()


def catp_scores(attention: Tensor, image_weights: Tensor | None = None) -> Tensor:
    """CATP's votes of one cross-attention layer: each image token, in each head, ranks the query tokens.

    Formula: `score[b, q] = sum over h, n of image_weights[b, n] * rank of attention[b, h, q, n] along q`, that is
    `borda_scores` with the `H * N` image tokens of all heads as voters. All points of one layer sum to `H*N*Q(Q-1)/2`.

    Args:
        attention: cross-attention probabilities `[batch head query image]`, softmaxed over the image tokens.
        image_weights: importance of each image token `[batch image]`, or None.

    Returns:
        `[batch query]`, float32.

    Source: CATP, arXiv 2404.08567, section 3 (cross-attention voting; weighted voting for `image_weights`).

    Example:
        >>> attention = torch.tensor([[[[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]]])  # 1 head, 3 queries, 2 image tokens
        >>> catp_scores(attention)
        tensor([[2., 2., 2.]])
        >>> catp_scores(attention, image_weights=torch.tensor([[1.0, 3.0]]))
        tensor([[2., 6., 4.]])
    """
    check_dims("catp_scores", "attention", attention, "batch head query image")
    batch, heads, queries, images = attention.shape
    votes = attention.transpose(2, 3).reshape(batch, heads * images, queries)
    if image_weights is None:
        return borda_scores(votes)
    if tuple(image_weights.shape) != (batch, images):
        raise InvalidValueError(
            f"catp_scores: image_weights must have shape [batch image] = {(batch, images)}, "
            f"got {tuple(image_weights.shape)}"
        )
    return borda_scores(votes, image_weights.repeat(1, heads))
