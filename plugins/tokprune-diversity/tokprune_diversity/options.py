"""Checks of option values."""

from __future__ import annotations

from numbers import Real

from tokprune import InvalidValueError


def check_choice(where: str, name: str, value: object, known: tuple[str, ...]) -> None:
    """Raise `InvalidValueError` if `value` is not one of `known`."""
    if value not in known:
        raise InvalidValueError(f"{where}: {name} must be one of {', '.join(map(repr, known))}, got {value!r}")


def check_switch(where: str, name: str, value: object) -> None:
    """Raise `InvalidValueError` if `value` is not True or False."""
    if not isinstance(value, bool):
        raise InvalidValueError(f"{where}: {name} must be True or False, got {value!r}")


def check_share(where: str, name: str, value: object) -> float:
    """Return `value` as a float in [0, 1), or raise `InvalidValueError`.

    Example:
        >>> check_share("dpp", "quality", 0)
        0.0
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < 1:
        raise InvalidValueError(
            f"{where}: {name} must be a number from 0 to below 1, got {value!r}; 0 ignores the scores, and for scores "
            "alone there is the selector 'top-k'"
        )
    return float(value)
