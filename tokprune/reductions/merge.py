"""Fold into the most similar kept token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tokprune.functional import merge_tokens


@dataclass(frozen=True)
class Merge:
    """A dropped token is folded into its most similar kept one: a mean weighted by the sizes, which are carried along.

    See `tokprune.functional.merge_tokens`.
    """

    removes: ClassVar[bool] = True
    reads_tokens: ClassVar[bool] = True

    def __call__(self, tokens: Tensor, kept: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Merged tokens `[batch token dim]` and sizes `[batch token]` (0 for dropped tokens)."""
        return merge_tokens(tokens, kept, sizes)
