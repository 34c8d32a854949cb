"""Hide: a dry run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tokprune.reductions.unchanged import kept_sizes


@dataclass(frozen=True)
class Mask:
    """Dropped tokens stay in the sequence and are hidden from attention: what pruning would do, at full cost.

    With the same positions the answers are those of `prune`, up to rounding.
    """

    removes: ClassVar[bool] = False
    reads_tokens: ClassVar[bool] = False

    def __call__(self, tokens: Tensor, kept: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens `[batch token dim]` as they came, and sizes `[batch token]`."""
        return tokens, kept_sizes(kept, sizes)
