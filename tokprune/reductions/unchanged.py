"""Sizes of tokens that nothing was folded into."""

from __future__ import annotations

from torch import Tensor


def kept_sizes(kept: Tensor, sizes: Tensor | None) -> Tensor:
    """`sizes` (one each if None) `[batch token]`, float32, with 0 where a token was not kept."""
    return kept.float() if sizes is None else sizes.float() * kept
