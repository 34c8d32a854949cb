"""Ranks on every ballot, ties sharing: by comparing all pairs where tokens are few, by sorting where they are many.

Votes stand as `[electorate token voter]` here, voters last: comparing two tokens is then one long vector operation, and
cross-attention `[head query key]`, whose keys are voters, has this layout already.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tokprune.functional.chunks import cells, spans
from tokprune.functional.sums import wide_dtype, wide_sum

COMPARED = 64
"""Up to so many tokens all pairs are compared. On a CPU that is 4 times as fast as sorting for 32 tokens, twice for 64,
and slower from about 100 tokens on (80 with weights)."""


def count_points(votes: Tensor, weights: Tensor | None = None) -> Tensor:
    """Borda points `[electorate token]` of votes `[electorate token voter]`, not yet rounded to float32.

    Weights are `[electorate voter]`. Infinite votes are allowed, NaN is not.
    """
    electorates, tokens, voters = votes.shape
    in_duels = weights is None and tokens <= COMPARED
    room = cells(votes) // max(1, tokens + tokens // 2) if in_duels else room_for(votes)
    if electorates * voters <= room:
        return _count(votes, weights)
    points = votes.new_zeros(electorates, tokens, dtype=wide_dtype(votes))
    for some in spans(electorates, room // voters):
        for who in spans(voters, room):
            points[some] += _count(votes[some, :, who], None if weights is None else weights[some, who])
    return points


def _count(votes: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None and votes.shape[1] <= COMPARED:
        return _duels_won(_exact(votes))
    return wide_sum(rank(votes).transpose(1, 2), weights)


def rank(votes: Tensor) -> Tensor:
    """Average ranks `[electorate token voter]`, float32, of votes of that shape; all at once."""
    if votes.shape[1] <= COMPARED:
        return _compare(votes)
    return _sort(votes.transpose(1, 2)).transpose(1, 2)


def room_for(votes: Tensor) -> int:
    """How many ballots `[... token voter]` may be ranked at a time."""
    tokens = votes.shape[-2]
    return cells(votes) // max(1, tokens * (tokens if tokens <= COMPARED else 1))


def _duels_won(votes: Tensor) -> Tensor:
    """Every unordered pair of tokens is compared once: token t with those that stand 1 .. T/2 places on, in a circle.

    No ranks of single voters are made, so there is nothing to weigh; but it is half of the work.
    """
    _, tokens, voters = votes.shape
    on = tokens // 2
    circle = torch.cat([votes, votes[:, :on]], dim=1).unfold(1, tokens, 1).transpose(2, 3)[:, 1:]
    margin = _balance(votes[:, None], circle)
    if tokens % 2 == 0:
        margin[:, on - 1].mul_(0.5)  # opposite in the circle: each of these pairs was compared from both of its ends
    # What t lost to the token s places behind is what that token won, [s, t - s]: a skewed view of two rounds.
    rounds = torch.cat([margin, margin], dim=2)
    behind = rounds.as_strided(margin.shape, (2 * on * tokens, 2 * tokens - 1, 1), tokens - 1)
    return ((margin - behind).sum(dim=1, dtype=wide_dtype(votes)) + voters * (tokens - 1)) * 0.5


def _balance(ours: Tensor, theirs: Tensor) -> Tensor:
    """Sum over voters `[electorate place token voter]` of 1 where our vote is higher, -1 where it is lower."""
    electorates, places, tokens, voters = theirs.shape
    ones = ours.new_ones(voters)
    room = max(1, cells(ours) // max(1, places * tokens))  # for so many voters
    if electorates * voters <= room:
        return _signs(ours, theirs, ours.new_empty(theirs.shape)).mv(ones).view(electorates, places, tokens)
    balance = ours.new_zeros(electorates, places * tokens)
    step = max(1, min(electorates, room // max(1, voters)))
    work = ours.new_empty(step * places * tokens * min(voters, room))  # one piece of memory, which stays in the cache
    for who in spans(voters, room):
        width = who.stop - who.start
        space = work[: step * places * tokens * width].view(step, places, tokens, width)
        parts = torch.split(ours[..., who], step), torch.split(theirs[..., who], step), torch.split(balance, step)
        for our, their, result in zip(*parts, strict=True):
            result.view(-1).addmv_(_signs(our, their, space[: len(our)]), ones[who])
    return balance.view(electorates, places, tokens)


def _signs(ours: Tensor, theirs: Tensor, space: Tensor) -> Tensor:
    """Sign of the difference as a matrix with the voters in its rows.

    Sums of -1, 0 and 1 are exact in float32, and as a product with ones twice as fast as `sum`.
    """
    # Two infinite votes differ by NaN, whose sign is 0 in torch: a draw, as it should be.
    return torch.sub(ours, theirs, out=space).sign_().flatten(0, 2)


def _compare(votes: Tensor) -> Tensor:
    votes = _exact(votes)
    balance = (votes[:, :, None] - votes[:, None]).sign_().sum(dim=2)  # beaten - lost to, in whole numbers
    return (balance.float() + (votes.shape[1] - 1)) * 0.5


def _exact(votes: Tensor) -> Tensor:
    """In a dtype in which whole numbers add up exactly."""
    return votes if votes.dtype == torch.float64 else votes.float()


def _sort(votes: Tensor) -> Tensor:
    """Average ranks of `[... token]`, tokens last."""
    ordered, order = votes.sort(dim=-1)
    place = torch.arange(votes.shape[-1], device=votes.device, dtype=torch.float32)
    # Equal votes stand in a run of the sorted ballot; each takes the middle of its run. (Three times as fast on a CPU
    # as looking every vote up with searchsorted.)
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    first = torch.where(starts, place, 0.0).cummax(dim=-1).values
    ends = torch.ones_like(starts)
    ends[..., :-1] = starts[..., 1:]
    last = torch.where(ends, place, float(votes.shape[-1])).flip(-1).cummin(dim=-1).values.flip(-1)
    return torch.empty_like(first).scatter_(-1, order, (first + last) / 2)
