"""Fold into the kept token of the group, or the most similar one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tokprune.functional import merge_tokens


@dataclass(frozen=True)
class Merge:
    """A dropped token is folded into the kept one of its group: a mean weighted by the sizes, which are carried along.

    Where the selector makes no groups, a dropped token goes to its most similar kept one.
    See `tokprune.functional.merge_tokens`.
    """

    removes: ClassVar[bool] = True
    reads_tokens: ClassVar[bool] = True
    follows_groups: ClassVar[bool] = True

    def __call__(
        self, tokens: Tensor, kept: Tensor, sizes: Tensor | None = None, assignment: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Merged tokens `[batch token dim]` and sizes `[batch token]` (0 for dropped tokens)."""
        return merge_tokens(tokens, kept, sizes, assignment)
