"""Call a reduction on the tokens of images, if it changes tokens at all."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tokprune.errors import InvalidValueError, brief
from tokprune.functional import group_sizes
from tokprune.interfaces import Choice, Reduction
from tokprune.noting import noting
from tokprune.signal import Signal


def reduce_tokens(
    reduction: Reduction, tokens: Tensor, choice: Choice, signal: Signal, sizes: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Tokens `[image token dim]` and sizes `[image token]` at full length, as `reduction` leaves them.

    One that does not read tokens is not called: they come back as they are. Where groups were made, sizes are those of
    the groups, whether it reads tokens or not.

    Raises:
        InvalidValueError: it returned something else.
    """
    kept, assignment = choice.kept.to(tokens.device), choice.assignment
    if assignment is not None:
        assignment = assignment.to(tokens.device)
    if not reduction.reads_tokens:
        return tokens, sizes if assignment is None else group_sizes(kept, assignment, sizes)
    with noting("reduction", reduction, signal, tokens=tokens, kept=kept):
        extra = signal.pick(getattr(reduction, "wants", ()))
        if assignment is not None and getattr(reduction, "follows_groups", False):
            extra["assignment"] = assignment
        found: Any = reduction(tokens, kept, sizes, **extra)
        reduced, sizes = _checked(reduction, found, tokens)
    return reduced.to(tokens.dtype), sizes


def _checked(reduction: Reduction, found: Any, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
    if isinstance(found, tuple) and len(found) == 2:
        reduced, sizes = found
        right = isinstance(reduced, Tensor) and reduced.shape == tokens.shape and reduced.is_floating_point()
        if right and (sizes is None or (isinstance(sizes, Tensor) and sizes.shape == tokens.shape[:2])):
            return reduced, sizes
    parts = found if isinstance(found, tuple) else (found,)
    got = ", ".join(str(tuple(each.shape)) if isinstance(each, Tensor) else type(each).__name__ for each in parts)
    raise InvalidValueError(
        f"reduction {brief(reduction)} must return tokens [image token dim] = {tuple(tokens.shape)} and sizes "
        f"[image token] = {tuple(tokens.shape[:2])}, both at full length, got ({got})"
    )
