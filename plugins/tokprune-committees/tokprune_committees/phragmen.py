"""Sequential Phragmen: every kept token is a load of one, carried by those who approve it, as evenly as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tokprune import Votes
from tokprune.keep import Keep, keep_count
from tokprune_committees.approval import Approve, check_approve
from tokprune_committees.electorate import Electorate, assemble, exact


@dataclass(frozen=True)
class Phragmen:
    """Sequential Phragmen: the next token is the one whose approvers would then carry the least load.

    Formula: loads x[v] start at 0. A token's price is `s[t] = (1 + sum of w[v] x[v]) / (sum of w[v])`, both over the v
    with t in A[v]; the lowest is kept and its approvers' loads become s[t]. Ties go to the higher score, then to the
    lower index; tokens that nobody approves come last. With more seats the committee grows: kept(k) is part of
    kept(k+1).

    Args:
        approve: whom a voter approves: "above-mean" the tokens above the mean of its votes; a float in (0, 1] its best
            share of the tokens; an int its so many best. Equal votes are treated alike.

    Source: Phragmen (1894); Lackner and Skowron, Multi-Winner Voting with Approval Preferences, arXiv 2007.01795,
    chapter 2, seq-Phragmen. That it gives every group its proportion (PJR): Brill, Freeman, Janson and Lackner,
    Phragmen's Voting Methods and Justified Representation, doi 10.1007/s10107-023-01926-8.

    Example:
        >>> ballots = torch.tensor([[[1.0, 1, 0], [1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]]])
        >>> Phragmen()(ballots.sum(dim=1), 2, votes=[Votes(ballots)])  # top-k keeps the first two
        tensor([[ True, False,  True]])
    """

    approve: Approve = "above-mean"

    uniform: ClassVar[bool] = True
    wants: ClassVar[tuple[str, ...]] = ("votes",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "approve", check_approve("phragmen", self.approve))

    def __call__(self, scores: Tensor, keep: Keep, *, votes: Sequence[Votes]) -> Tensor:
        """Kept tokens, bool `[batch token]`."""
        seats = keep_count(keep, scores.shape[1])
        people = assemble("phragmen", scores, votes, self.approve)
        if seats == scores.shape[1]:
            return torch.ones_like(scores, dtype=torch.bool)
        support = people.backing(people.weights)
        kept = torch.zeros_like(people.place, dtype=torch.bool)
        loads = torch.zeros_like(people.weights)
        for _ in range(seats):
            price = load_prices(people, loads, support)
            elected = people.best(-price, kept)
            kept.scatter_(1, elected, True)
            loads = torch.where(people.approvers(elected), price.gather(1, elected), loads)
        return kept.to(scores.device)


def load_prices(people: Electorate, loads: Tensor, support: Tensor) -> Tensor:
    """The load that a token's approvers would carry if it were kept, `[batch token]`; infinite if nobody approves it.

    Args:
        people: the electorate.
        loads: what each voter carries now `[batch voter]`; weighted, they sum to the number of kept tokens.
        support: weight of each token's approvers `[batch token]`.
    """
    carried = people.backing(exact(people.weights * loads, people.place.shape[1]))
    return torch.where(support > 0, (1 + carried) / support, torch.inf)
