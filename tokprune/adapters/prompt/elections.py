"""One election for each group of images that have equally many tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tokprune.adapters.reducing import reduce_tokens
from tokprune.functional import kept_index
from tokprune.interfaces import Choice, Cut
from tokprune.keep import keep_count
from tokprune.signal import Signal


@dataclass(frozen=True, eq=False)
class Group:
    """The images of a call that have equally many tokens, and what was elected among these.

    Attributes:
        images: which images.
        choice: what `Cut.choose` returned.
        counts: how many tokens of each image stay.
        tokens: all vectors after the reduction `[image token dim]`.
        sizes: how many tokens each of them stands for `[image token]`, or None if nothing was merged.
    """

    images: Sequence[int]
    choice: Choice
    counts: Sequence[int]
    tokens: Tensor
    sizes: Tensor | None

    def stays(self) -> list[Tensor]:
        """For each image, the vectors that stay `[token dim]`."""
        kept = self.choice.kept.to(self.tokens.device)
        return [
            image[kept_index(row[None], count)[0]]
            for image, row, count in zip(self.tokens, kept, self.counts, strict=True)
        ]


def elect(cut: Cut, signal: Signal, images: Sequence[int], tokens: Tensor) -> Group:
    """Hold the election among the tokens `[image token dim]` of `images`, and reduce them."""
    choice = cut.choose(signal)
    count = choice.kept.shape[1]
    if cut.keep is None:
        counts: list[int] = choice.kept.sum(dim=1).tolist()
    else:
        counts = [keep_count(cut.keep, count)] * len(images)
    sizes = None
    if min(counts) < count:
        tokens, sizes = reduce_tokens(cut.reduction, tokens, choice, signal)
    return Group(images, choice, counts, tokens, sizes)
