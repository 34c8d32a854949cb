"""The k best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tokprune.functional import top_k
from tokprune.keep import Keep


@dataclass(frozen=True)
class TopK:
    """The tokens with the highest scores, the same number for every image; the lower index wins ties.

    See `tokprune.functional.top_k`.
    """

    uniform: ClassVar[bool] = True

    def __call__(self, scores: Tensor, keep: Keep) -> Tensor:
        """Kept tokens, bool `[batch token]`."""
        return top_k(scores, keep)
