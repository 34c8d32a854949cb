"""The smallest set that holds a given share of the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tokprune.functional import top_p
from tokprune.keep import Keep


@dataclass(frozen=True)
class TopP:
    """The smallest set of best tokens that holds the share `keep` of all scores: a different number per image.

    Never keeps more than `top-k` at the same keep. See `tokprune.functional.top_p`.
    """

    uniform: ClassVar[bool] = False

    def __call__(self, scores: Tensor, keep: Keep) -> Tensor:
        """Kept tokens, bool `[batch token]`."""
        return top_p(scores, keep)
