"""The method of equal shares: every voter gets the same money, and tokens are bought by those who approve them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from tokprune import InvalidValueError, Votes
from tokprune.keep import Keep, keep_count
from tokprune_committees.approval import Approve, check_approve
from tokprune_committees.electorate import TOLERANCE, Electorate, assemble, exact
from tokprune_committees.phragmen import load_prices
from tokprune_committees.pieces import pieces

BLOCK = 64
"""So many voters are summed up before any are looked at one by one."""


@dataclass(frozen=True)
class EqualShares:
    """Method of equal shares (Rule X): voters buy tokens from equal budgets; the cheapest per buyer goes first.

    Formula: the k seats cost 1 each; a voter of weight w has `w k / W`, where W is the weight of all who approve
    anybody. A token is bought at the price rho with `sum over v with t in A[v] of w[v] min(b[v], rho) = 1`, where b is
    what is left of a budget per unit of weight; the lowest rho goes first and is paid. Ties go to the higher score,
    then to the lower index. When no token can be paid any more, `completion` fills the seats that are left.

    A committee for more seats need not contain the one for fewer: budgets differ from the start.

    Args:
        approve: whom a voter approves: "above-mean" the tokens above the mean of its votes; a float in (0, 1] its best
            share of the tokens; an int its so many best. Equal votes are treated alike.
        completion: "phragmen" goes on by sequential Phragmen, where each voter's load is what it has spent;
            "scores" takes the best of the rest by score.

    Source: Peters and Skowron, Proportionality and the Limits of Welfarism, arXiv 1911.11747 (there Rule X); Lackner
    and Skowron, Multi-Winner Voting with Approval Preferences, arXiv 2007.01795, chapter 2, method of equal shares,
    whose second phase is the completion "phragmen".

    Example:
        >>> ballots = torch.tensor([[[1.0, 1, 0], [1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]]])
        >>> EqualShares()(ballots.sum(dim=1), 2, votes=[Votes(ballots)])  # top-k keeps the first two
        tensor([[ True, False,  True]])
    """

    approve: Approve = "above-mean"
    completion: Literal["phragmen", "scores"] = "phragmen"

    uniform: ClassVar[bool] = True
    wants: ClassVar[tuple[str, ...]] = ("votes",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "approve", check_approve("equal-shares", self.approve))
        if self.completion not in ("phragmen", "scores"):
            raise InvalidValueError(
                f"equal-shares: completion must be 'phragmen' or 'scores', got {self.completion!r}; it says who gets "
                "the seats that nobody can pay for"
            )

    def __call__(self, scores: Tensor, keep: Keep, *, votes: Sequence[Votes]) -> Tensor:
        """Kept tokens, bool `[batch token]`."""
        seats = keep_count(keep, scores.shape[1])
        people = assemble("equal-shares", scores, votes, self.approve)
        if seats == scores.shape[1]:
            return torch.ones_like(scores, dtype=torch.bool)
        support = people.backing(people.weights)
        voting = people.weights * people.approvals.any(dim=2)
        total = voting.sum(dim=1, keepdim=True)
        budget = torch.where(total > 0, seats / total, 0.0)
        kept = torch.zeros_like(people.place, dtype=torch.bool)
        spent = torch.zeros_like(people.weights)
        for _ in range(seats):
            price = purchase_prices(people, (budget - spent).clamp(min=0), support)
            bought = price.masked_fill(kept, torch.inf).amin(dim=1, keepdim=True).isfinite()
            otherwise = load_prices(people, spent, support)
            if self.completion == "scores":
                otherwise = torch.full_like(otherwise, torch.inf)
            elected = people.best(-torch.where(bought, price, otherwise), kept)
            kept.scatter_(1, elected, True)
            paid = torch.minimum(budget, spent + price.gather(1, elected))
            paid = torch.where(bought, paid, otherwise.gather(1, elected))
            spent = torch.where(people.approvers(elected) & paid.isfinite(), paid, spent)
        return kept.to(scores.device)


def purchase_prices(people: Electorate, left: Tensor, support: Tensor) -> Tensor:
    """The lowest rho at which a token's approvers can pay 1 together, `[batch token]`; infinite if they cannot.

    What they pay, `f(rho) = sum of w min(left, rho)`, is the lowest of the lines `P[j] + rho R[j]`, where the j poorest
    give all they have (P) and the others, of weight R, give rho each. So `f(rho) = 1` at the largest of the lines'
    solutions `(1 - P[j]) / R[j]`. Voters are sorted by what they have left and summed up in blocks, which tells in
    which block each token's solution lies; only there the lines are drawn one by one.

    Args:
        people: the electorate.
        left: what each voter has left per unit of its weight `[batch voter]`.
        support: weight of each token's approvers `[batch token]`.
    """
    batch, voters, tokens = people.approvals.shape
    blocks = -(-voters // BLOCK)
    order = left.argsort(dim=1, stable=True)
    weights = people.weights.gather(1, order)
    purse = left.gather(1, order)
    money = exact(weights * purse, tokens)
    filled = (0, blocks * BLOCK - voters)  # the last block is filled up with voters of no weight
    order, weights, purse, money = (
        pad(values, filled).view(batch, blocks, BLOCK) for values in (order, weights, purse, money)
    )
    both = torch.stack([money, weights], dim=2)

    sums = both.new_empty(batch, blocks, 2, tokens)
    for some in pieces(blocks, batch * BLOCK * tokens, left.device):
        approve = people.approvals_of(order[:, some].flatten(1)).to(both.dtype)
        sums[:, some] = both[:, some] @ approve.view(batch, -1, BLOCK, tokens)
    ends = sums.cumsum(dim=1)
    paid = ends[:, :, 0] + purse[:, :, -1:] * (support[:, None] - ends[:, :, 1])  # if each block's richest gave all
    block = (paid < 1 - TOLERANCE).sum(dim=1, keepdim=True).clamp(max=blocks - 1)

    before = (ends - sums).gather(1, block[:, :, None].expand(-1, -1, 2, -1))[:, 0]
    inside = block[:, 0, :, None].expand(-1, -1, BLOCK)
    approve = people.approvals.transpose(1, 2).gather(2, order.gather(1, inside)).to(both.dtype)
    poor = before[:, 0, :, None] + pad((approve * money.gather(1, inside)).cumsum(dim=2), (1, 0))
    rich = (support - before[:, 1])[:, :, None] - pad((approve * weights.gather(1, inside)).cumsum(dim=2), (1, 0))
    price = torch.where(rich > 0, (1 - poor) / rich, -torch.inf).amax(dim=2)
    return torch.where(ends[:, -1, 0] >= 1 - TOLERANCE, price, torch.inf)
