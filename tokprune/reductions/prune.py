"""Discard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tokprune.reductions.unchanged import kept_sizes


@dataclass(frozen=True)
class Prune:
    """Dropped tokens leave the sequence; kept tokens are not touched."""

    removes: ClassVar[bool] = True
    reads_tokens: ClassVar[bool] = False

    def __call__(self, tokens: Tensor, kept: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens `[batch token dim]` as they came, and sizes `[batch token]`."""
        return tokens, kept_sizes(kept, sizes)
