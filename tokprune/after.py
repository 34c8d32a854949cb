"""What `after` means: behind which layers of an encoder tokens leave."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Literal, TypeGuard

from tokprune.errors import InvalidValueError, brief
from tokprune.keep import Keep, keep_count

After = float | int | tuple[int, ...] | Literal["every"]

_HELP = (
    "give a share of the depth (a float in (0, 1], such as 0.33), a number of layers (an int >= 1, such as "
    "13), several of them (a rising list of ints, such as [6, 13, 20]), or 'every'"
)


def check_after(after: object) -> After:
    """Return `after` in canonical form (lists become tuples), or raise `InvalidValueError` (a `ValueError`).

    Example:
        >>> check_after(0.5), check_after(13), check_after([2, 4])
        (0.5, 13, (2, 4))
    """
    if isinstance(after, str) and after == "every":  # an array would compare element by element
        return "every"
    if _is_number_of_layers(after):
        return int(after)
    if isinstance(after, Real) and not isinstance(after, Integral) and 0.0 < float(after) <= 1.0:  # false for NaN, too
        return float(after)
    if isinstance(after, Sequence) and not isinstance(after, str) and len(after) > 0:
        layers = tuple(after)
        if all(_is_number_of_layers(n) for n in layers) and all(one < other for one, other in pairwise(layers)):
            return tuple(int(n) for n in layers)
    raise InvalidValueError(f"after={brief(after)} names no layers; {_HELP}")


def _is_number_of_layers(value: object) -> TypeGuard[int]:
    if isinstance(value, bool) or not isinstance(value, Integral):
        return False
    return int(value) >= 1


def layers_before(after: After, depth: int) -> tuple[int, ...]:
    """How many of `depth` layers run before each cut, in rising order.

    A share is rounded to the nearest number of layers, at least one.

    Raises:
        InvalidValueError: there are not that many layers.

    Example:
        >>> layers_before(1 / 3, 39), layers_before((6, 13), 39), layers_before("every", 3)
        ((13,), (6, 13), (1, 2, 3))
    """
    if after == "every":
        return tuple(range(1, depth + 1))
    if isinstance(after, float):
        return (max(1, min(depth, round(after * depth))),)
    layers = after if isinstance(after, tuple) else (after,)
    if layers[-1] > depth:
        raise InvalidValueError(f"after={after!r}: there are {depth} layers; {_HELP}")
    return layers


def falling_counts(keep: Keep, total: int, cuts: int) -> tuple[int, ...]:
    """How many of `total` tokens are left after each of `cuts` cuts: equal steps down to `keep`.

    With one cut behind every layer this is the constant r of ToMe (arXiv 2210.09461, section 3).

    Example:
        >>> falling_counts(0.25, 256, 1), falling_counts(0.25, 256, 3)
        ((64,), (192, 128, 64))
    """
    last = keep_count(keep, total)
    return tuple(total - (total - last) * step // cuts for step in range(1, cuts + 1))
