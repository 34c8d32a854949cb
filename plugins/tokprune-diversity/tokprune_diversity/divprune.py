"""Max-min diversity: no two kept tokens alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tokprune.keep import Keep, keep_count
from tokprune_diversity.options import check_choice, check_switch
from tokprune_diversity.order import best_first
from tokprune_diversity.vectors import comparable

STARTS = ("isolated", "pair", "best")
"""How the first token may be chosen."""

STEP = 2.0**-24
"""Distances that differ by less are equal: what is left between them is rounding (64 times its unit in float32)."""


@dataclass(frozen=True)
class DivPrune:
    """Greedy max-min diversity (DivPrune): each kept token is as far as can be from those kept before.

    Formula: with the cosine distance `d(i, j) = 1 - cos(x[i], x[j])`, the next token is the one with the greatest
    `min over kept j of d(i, j)`. The first is chosen by `start`. Scores only break ties: among equals the higher score
    wins, then the lower index.

    In terms of angles, or of the length `|u[i] - u[j]|` between unit vectors, the least distance among the kept tokens
    is at least half of the best that any choice of as many tokens has, whatever the start; in cosine distance, which is
    half the square of that length, at least a quarter.

    Args:
        start: the first token. "isolated": the one whose nearest other token is farthest, as in DivPrune. (Two tokens
            that are each other's nearest tie.) "pair": one of the two tokens that are farthest apart; the second is
            then the other, which is the start of Ravi, Rosenkrantz and Tayi. "best": the highest score; Gonzalez
            starts with any token.
        centre: subtract the mean of each image's tokens first. Not part of DivPrune.

    Shapes: scores `[batch token]` and tokens `[batch token dim]` -> kept, bool `[batch token]`. Needs one matrix
    `[batch token token]` in float64. A zero vector has distance 0 from another and 1/2 from all other tokens: it is the
    centre of the sphere.

    Source: Alvar et al., "DivPrune", arXiv 2503.02175, the greedy solution of the max-min diversity problem. The bound:
    Ravi, Rosenkrantz and Tayi, "Heuristic and special case algorithms for dispersion problems", Operations Research 42
    (1994); farthest-first from any start: Gonzalez, "Clustering to minimize the maximum intercluster distance",
    Theoretical Computer Science 38 (1985).

    Example:
        >>> tokens = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.2, 1.0], [-1.0, 0.1]]])
        >>> DivPrune()(torch.zeros(1, 4), 2, tokens=tokens)
        tensor([[ True, False, False,  True]])
    """

    start: str = "isolated"
    centre: bool = False

    uniform: ClassVar[bool] = True
    wants: ClassVar[tuple[str, ...]] = ("tokens",)

    def __post_init__(self) -> None:
        check_choice("divprune", "start", self.start, STARTS)
        check_switch("divprune", "centre", self.centre)

    def __call__(self, scores: Tensor, keep: Keep, *, tokens: Tensor) -> Tensor:
        """Kept tokens, bool `[batch token]`."""
        order, ordered = best_first("divprune", scores, tokens)
        distance = _distances(comparable(ordered, self.centre))
        kept = torch.zeros_like(order, dtype=torch.bool)
        nearest = torch.full_like(distance[:, 0], torch.inf)
        gain = self._first(distance)
        for _ in range(keep_count(keep, scores.shape[1])):
            best = gain.argmax(dim=1, keepdim=True)  # the first of several equals
            kept.scatter_(1, best, True)
            row = distance.gather(1, best[:, :, None].expand(-1, -1, distance.shape[2]))[:, 0]
            nearest = torch.minimum(nearest, row)
            gain = nearest.masked_fill(kept, -torch.inf)
        return torch.zeros_like(kept).scatter_(1, order, kept)

    def _first(self, distance: Tensor) -> Tensor:
        """What the first token has most of, `[batch token]`."""
        if self.start == "best":
            return torch.zeros_like(distance[:, 0])  # all equal, so the first: the highest score
        if self.start == "pair":
            return distance.amax(dim=2)
        distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)  # itself is no other token; nothing reads it later
        return distance.amin(dim=2)


def _distances(points: Tensor) -> Tensor:
    """`|u[i] - u[j]|^2 / 2`, on a grid, `[batch token token]`: for unit vectors 1 - cos."""
    half = points.square().sum(dim=2).round() / 2  # 1/2 for unit vectors, 0 for zero vectors
    step = max(STEP, 64 * torch.finfo(points.dtype).eps)
    distance = torch.bmm(points, points.transpose(1, 2))
    return distance.neg_().add_(half[:, :, None]).add_(half[:, None]).div_(step).round_().mul_(step)
