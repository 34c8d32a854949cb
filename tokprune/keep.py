"""What `keep` means: a float in (0, 1] is the keep ratio, an int >= 1 the keep count."""

from __future__ import annotations

import math
from numbers import Integral, Real

from tokprune.errors import InvalidValueError, brief

Keep = float | int
"""A keep ratio, a float in (0, 1], or a keep count, an int >= 1."""

_HELP = "give a keep ratio (a float in (0, 1], such as 0.25) or a keep count (an int >= 1, such as 8)"


def check_keep(keep: object) -> Keep:
    """Return `keep` as a plain `int` or `float`, or raise `InvalidValueError` (a `ValueError`) if it is neither.

    Example:
        >>> check_keep(0.25), check_keep(8)
        (0.25, 8)
    """
    if isinstance(keep, bool) or not isinstance(keep, Real):
        raise InvalidValueError(f"keep must be a number, got {brief(keep)}; {_HELP}")
    if isinstance(keep, Integral):
        count = int(keep)
        if count < 1:
            raise InvalidValueError(f"keep={count} would keep no token; {_HELP}")
        return count
    ratio = float(keep)
    if not 0.0 < ratio <= 1.0:  # also false for NaN
        hint = f" (did you mean keep={int(ratio)}?)" if ratio > 1 and ratio.is_integer() else ""
        raise InvalidValueError(f"keep={ratio} is not a keep ratio{hint}; {_HELP}")
    return ratio


def keep_count(keep: Keep, total: int) -> int:
    """How many of `total` tokens stay.

    A ratio is rounded up, so at least one token stays; the tolerance keeps 0.07 * 100 = 7.000000000000001 at 7.

    Raises:
        InvalidValueError: `keep` is not a keep, or is a count larger than `total`.

    Example:
        >>> keep_count(0.25, 32), keep_count(8, 32), keep_count(0.01, 32)
        (8, 8, 1)
    """
    keep = check_keep(keep)
    if isinstance(keep, int):
        if keep > total:
            raise InvalidValueError(f"keep={keep} is more than the {total} tokens there are; {_HELP}")
        return keep
    return max(1, min(total, math.ceil(keep * total - 1e-9)))
