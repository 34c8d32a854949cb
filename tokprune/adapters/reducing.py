"""Call a reduction on the tokens of images, if it changes tokens at all."""

from __future__ import annotations

from torch import Tensor

from tokprune.interfaces import Reduction
from tokprune.signal import Signal


def reduce_tokens(
    reduction: Reduction, tokens: Tensor, kept: Tensor, signal: Signal, sizes: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Tokens `[image token dim]` and sizes `[image token]` at full length, as `reduction` leaves them.

    One that does not read tokens is not called: they come back as they are.
    """
    if not reduction.reads_tokens:
        return tokens, sizes
    extra = signal.pick(getattr(reduction, "wants", ()))
    reduced, sizes = reduction(tokens, kept.to(tokens.device), sizes, **extra)
    return reduced.to(tokens.dtype), sizes
