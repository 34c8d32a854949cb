"""Sequential proportional approval voting: each further token counts less for those who have some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tokprune import Votes
from tokprune.keep import Keep, keep_count
from tokprune_committees.approval import Approve, check_approve
from tokprune_committees.electorate import assemble, exact


@dataclass(frozen=True)
class Pav:
    """Proportional approval voting, seat by seat: who has r kept tokens already counts 1 / (r + 1).

    Formula: with the voters v of all layers, weights w and ballots A, the next token is the one with the highest
    `sum over v with t in A[v] of w[v] / (1 + |A[v] and kept|)`. Ties go to the higher score, then to the lower index.
    With more seats the committee grows: kept(k) is part of kept(k+1).

    Args:
        approve: whom a voter approves: "above-mean" the tokens above the mean of its votes; a float in (0, 1] its best
            share of the tokens; an int its so many best. Equal votes are treated alike.

    Source: Thiele's sequential rule (1895) with harmonic weights; Lackner and Skowron, Multi-Winner Voting with
    Approval Preferences, arXiv 2007.01795, chapter 2, sequential variants of Thiele methods.

    Example:
        >>> ballots = torch.tensor([[[1.0, 1, 0], [1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]]])
        >>> Pav()(ballots.sum(dim=1), 2, votes=[Votes(ballots)])  # top-k keeps the first two
        tensor([[ True, False,  True]])
    """

    approve: Approve = "above-mean"

    uniform: ClassVar[bool] = True
    wants: ClassVar[tuple[str, ...]] = ("votes",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "approve", check_approve("pav", self.approve))

    def __call__(self, scores: Tensor, keep: Keep, *, votes: Sequence[Votes]) -> Tensor:
        """Kept tokens, bool `[batch token]`."""
        seats = keep_count(keep, scores.shape[1])
        people = assemble("pav", scores, votes, self.approve)
        if seats == scores.shape[1]:
            return torch.ones_like(scores, dtype=torch.bool)
        voters = people.weights.shape[1]
        kept = torch.zeros_like(people.place, dtype=torch.bool)
        represented = torch.zeros_like(people.weights)
        for _ in range(seats):
            gain = people.backing(exact(people.weights / (1 + represented), voters))
            elected = people.best(gain, kept)
            kept.scatter_(1, elected, True)
            represented += people.approvers(elected)
        return kept.to(scores.device)
