"""Numbers become approval ballots: whom does a voter approve?"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from tokprune import InvalidValueError
from tokprune.keep import check_keep, keep_count
from tokprune_committees.pieces import pieces

Approve = Literal["above-mean"] | float | int
"""How a voter's votes become a ballot: by its own mean, or the best share (float) or number (int) of the tokens."""

EXACT_BITS = 52
"""Whole numbers up to 2**52 add up exactly in float64."""


def check_approve(where: str, approve: object) -> Approve:
    """Return `approve` in canonical form, or raise `InvalidValueError`.

    Example:
        >>> check_approve("pav", "above-mean"), check_approve("pav", 0.25)
        ('above-mean', 0.25)
    """
    if approve == "above-mean":
        return "above-mean"
    try:
        return check_keep(approve)
    except InvalidValueError as error:
        raise InvalidValueError(_expected(where, approve)) from error


def _expected(where: str, approve: object) -> str:
    return (
        f"{where}: approve must be 'above-mean', a share of the tokens (a float in (0, 1], such as 0.25) or a number "
        f"of them (an int >= 1), got {approve!r}"
    )


def ballots(votes: Tensor, approve: Approve) -> Tensor:
    """Approval ballots of voters who said numbers; equal votes on a ballot are always treated alike.

    Formula: "above-mean" approves the tokens with `T * v[t] > sum over t of v[t]`; a voter with equal votes for all
    approves nobody. A share or number m approves the tokens whose vote is at least the m-th highest, so a tie at the
    edge lets more in, and a voter with equal votes for all approves everybody.

    Args:
        votes: `[batch voter token]`, any floating dtype; infinite votes are allowed.
        approve: the rule.

    Returns:
        bool `[batch voter token]`.

    Example:
        >>> ballots(torch.tensor([[[4.0, 3.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]]]), "above-mean").int()
        tensor([[[1, 1, 0, 0],
                 [0, 0, 0, 0]]], dtype=torch.int32)
        >>> ballots(torch.tensor([[[4.0, 3.0, 1.0, 0.0], [2.0, 1.0, 1.0, 1.0]]]), 2).int()
        tensor([[[1, 1, 0, 0],
                 [1, 1, 1, 1]]], dtype=torch.int32)
    """
    batch, voters, tokens = votes.shape
    approved = torch.empty(votes.shape, dtype=torch.bool, device=votes.device)
    for some in pieces(voters, batch * tokens, votes.device):
        piece = votes[:, some]
        approved[:, some] = _above_mean(piece) if approve == "above-mean" else _best(piece, approve)
    return approved


def _above_mean(votes: Tensor) -> Tensor:
    """Sums of whole numbers, so that neither rounding nor the order of the tokens decides who is above the mean."""
    tokens = votes.shape[2]
    limit = torch.finfo(torch.float32).max
    wide = votes.to(torch.float64).clamp(-limit, limit)
    share = wide / power_above(wide.abs().amax(dim=2, keepdim=True))
    whole = (share * 2.0 ** (EXACT_BITS - math.ceil(math.log2(tokens)))).round_()
    return whole * tokens > whole.sum(dim=2, keepdim=True)


def power_above(numbers: Tensor) -> Tensor:
    """The next power of two above each number, and 1 for 0: to divide by it is exact.

    Example:
        >>> power_above(torch.tensor([0.3, 3.0, 4.0, 0.0]))
        tensor([0.5000, 4.0000, 8.0000, 1.0000])
    """
    return torch.where(numbers > 0, numbers / torch.frexp(numbers).mantissa, 1.0)


def _best(votes: Tensor, approve: float | int) -> Tensor:
    tokens = votes.shape[2]
    number = min(approve, tokens) if isinstance(approve, int) else keep_count(approve, tokens)
    return votes >= votes.topk(number, dim=2).values[:, :, -1:]
