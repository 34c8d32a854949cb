"""A determinantal point process: tokens that span a large volume together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tokprune.keep import Keep, keep_count
from tokprune_diversity.options import check_choice, check_share, check_switch
from tokprune_diversity.order import best_first
from tokprune_diversity.vectors import comparable

SIMILARITIES = ("cosine", "dot")
"""What the kernel may be made of."""

FORMS = ("linear", "exponential")
"""How a score may become a quality."""

LEAST = 1e-6
"""The quality of the lowest score in the linear form; it would be zero, and no determinant could tell tokens apart."""

EXHAUSTED = -1e30
"""The gain of a token that the kept ones span: below all others, above those already kept."""


@dataclass(frozen=True)
class Dpp:
    """Greedy determinantal point process: the kept tokens span a large volume, weighted by their scores.

    Formula: the kernel is `L = diag(q) S diag(q)` with similarities S and qualities q; the next token is the one with
    which `det(L[kept, kept])` grows most, that is the greatest `q[i]^2 * v[i]`, where `v[i]` is what the kept tokens
    leave unexplained of token i (its squared distance from their span, updated by one Cholesky row per step). With
    r, the scores scaled to 0 .. 1 in each image, and `w = quality / (1 - quality)`:

    - form="linear": `q = r^w`; quality=0.5, the default, is `q = r`, the kernel of CDPruner;
    - form="exponential": `q = exp(w r / 2)`, a greedy step for `quality * sum of r + (1 - quality) * log det S`.

    Where `v` is zero for all that is left (duplicates, or more tokens than dimensions), every determinant is zero and
    the rest is filled up by score. Among equals the higher score wins, then the lower index.

    Args:
        quality: how much scores count against diversity, from 0 (not at all: scores only break ties) to below 1.
        centre: subtract the mean of each image's tokens first, so that what all tokens have in common does not count
            as similarity (for word vectors: Mu and Viswanath, arXiv 1702.01417).
        similarity: "cosine", as in CDPruner, or "dot", the plain inner product, where long tokens count more.
        form: how a score becomes a quality, see above; without effect at quality=0.

    Shapes: scores `[batch token]` and tokens `[batch token dim]` -> kept, bool `[batch token]`. Needs the matrix
    `[batch token token]` and its Cholesky factor `[batch kept token]` in float64.

    Source: the kernel, Kulesza and Taskar, arXiv 1207.6083, section 3.1; the greedy algorithm and the exponential form,
    Chen, Zhang and Zhou, arXiv 1709.05135; cosine similarity, the scaling of scores and the linear form, CDPruner,
    arXiv 2506.10967, sections 3.2 to 3.4.

    Example:
        >>> tokens = torch.tensor([[[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [1.0, -0.1]]])
        >>> scores = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
        >>> Dpp(quality=0)(scores, 2, tokens=tokens)
        tensor([[ True, False,  True, False]])
    """

    quality: float = 0.5
    centre: bool = False
    similarity: str = "cosine"
    form: str = "linear"

    uniform: ClassVar[bool] = True
    wants: ClassVar[tuple[str, ...]] = ("tokens",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "quality", check_share("dpp", "quality", self.quality))
        check_switch("dpp", "centre", self.centre)
        check_choice("dpp", "similarity", self.similarity, SIMILARITIES)
        check_choice("dpp", "form", self.form, FORMS)

    def __call__(self, scores: Tensor, keep: Keep, *, tokens: Tensor) -> Tensor:
        """Kept tokens, bool `[batch token]`."""
        count = keep_count(keep, scores.shape[-1])
        order, ordered = best_first("dpp", scores, tokens)
        points = comparable(ordered, self.centre, unit=self.similarity == "cosine")
        kernel = torch.bmm(points, points.transpose(1, 2))
        worth = self._log_quality(scores.detach().gather(1, order).to(kernel.dtype))
        step = 4 * math.sqrt(torch.finfo(kernel.dtype).eps)  # what is smaller is rounding
        factor = kernel.new_zeros(kernel.shape[0], count, kernel.shape[2])
        left = kernel.diagonal(dim1=1, dim2=2).clone()
        kept = torch.zeros_like(order, dtype=torch.bool)
        for row in range(count):
            volume = (left / step).round() * step  # on a grid, so that what should be equal is
            gain = torch.where(volume > 0, volume.log() + worth, EXHAUSTED)
            best = gain.masked_fill(kept, -torch.inf).argmax(dim=1, keepdim=True)  # the first of several equals
            kept.scatter_(1, best, True)
            line = kernel.gather(1, best[:, :, None].expand(-1, -1, kernel.shape[2]))
            before = factor[:, :row]
            line = line - torch.bmm(before.gather(2, best[:, None].expand(-1, row, -1)).transpose(1, 2), before)
            pivot = left.gather(1, best)
            root = torch.where(volume.gather(1, best) > 0, pivot, torch.inf).sqrt()  # exhausted: nothing to explain
            factor[:, row] = line[:, 0] / root
            left = left - factor[:, row].square()
        return torch.zeros_like(kept).scatter_(1, order, kept)

    def _log_quality(self, scores: Tensor) -> Tensor:
        """`log(q^2)`, `[batch token]`."""
        lowest = scores.amin(dim=1, keepdim=True)
        range_ = scores.amax(dim=1, keepdim=True) - lowest
        relevance = (scores - lowest) / torch.where(range_ > 0, range_, torch.ones_like(range_))
        weight = self.quality / (1 - self.quality)
        if self.form == "exponential":
            return weight * relevance
        return 2 * weight * relevance.clamp(min=LEAST).log()
