"""Report: what one pruned call did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokprune.functional import kept_index


@dataclass(frozen=True, eq=False)
class Report:
    """What the last pruned call kept and why.

    Attributes:
        kept: bool `[image token]`, True for target tokens that stayed. Where images have different numbers of tokens
            there is a column for each token of the largest, False where an image has none.
        scores: float `[image token]`, the score that decided; where tokens leave in several steps, each token's last.
            NaN where an image has no such token.
        length_before: length of the sequence that would have gone on: into the language model, or through the rest of
            the image encoder.
        length_after: length of the one that did.
        sizes: how many original tokens each target token stands for after merging `[image token]`, or None.
        backend: which implementation counted the votes: "reference" (torch) or "triton"; "reference, triton" if
            some votes were counted by one and some by the other.
    """

    kept: Tensor
    scores: Tensor
    length_before: int
    length_after: int
    sizes: Tensor | None = None
    backend: str = "reference"

    @property
    def counts(self) -> Tensor:
        """How many target tokens stayed, int `[image]`."""
        return self.kept.sum(dim=1)

    def __repr__(self) -> str:
        low, high = int(self.counts.min()), int(self.counts.max())
        kept = str(low) if low == high else f"{low} to {high}"
        images = "1 image" if len(self.kept) == 1 else f"{len(self.kept)} images"
        return (
            f"Report({images}, kept {kept} of {self.kept.shape[1]} tokens each, "
            f"sequence {self.length_before} -> {self.length_after}, backend {self.backend!r})"
        )


def latest_scores(steps: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The last score that each token was given.

    Args:
        steps: kept (bool) and scores of every step, `[batch token]`; each step is about the tokens that the step before
            kept, in their order, the same number for every image.

    Returns:
        `[batch token]`, for the tokens of the first step.

    Example:
        >>> import torch
        >>> first = torch.tensor([[True, False, True]]), torch.tensor([[0.5, 0.1, 0.9]])
        >>> latest_scores([first, (torch.tensor([[True, False]]), torch.tensor([[0.7, 0.3]]))])
        tensor([[0.7000, 0.1000, 0.3000]])
    """
    (kept, scores), *later = steps
    alive = None
    for next_kept, next_scores in later:
        stays = kept_index(kept, next_kept.shape[1])
        alive = stays if alive is None else alive.gather(1, stays)
        scores = scores.scatter(1, alive.to(scores.device), next_scores.to(scores))
        kept = next_kept
    return scores


def scores_of_groups(kept: Tensor, groups: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The scores of images that have different numbers of tokens, in one tensor, NaN where an image has no token.

    Args:
        kept: bool `[image token]`, with a column for each token of the largest image.
        groups: which images (int `[image]`), and their scores `[image token]`.

    Example:
        >>> import torch
        >>> kept = torch.tensor([[True, False], [True, False]])
        >>> scores_of_groups(kept, [(torch.tensor([1]), torch.tensor([[3.0]])), (torch.tensor([0]), torch.ones(1, 2))])
        tensor([[1., 1.],
                [3., nan]])
    """
    scores = kept.new_full(kept.shape, torch.nan, dtype=torch.float32)
    for images, found in groups:
        scores[images.to(scores.device), : found.shape[1]] = found.to(scores)
    return scores
