"""Helpers that several scorers share: option checks, and a single ballot from one number per token."""

from __future__ import annotations

from torch import Tensor

from tokprune.errors import InvalidValueError, brief
from tokprune.votes import Votes


def single_ballot(scores: Tensor) -> Votes:
    """One voter per image whose vote is the score itself: `[batch token]` -> votes `[batch 1 token]`."""
    return Votes(scores[:, None, :])


def check_choice(where: str, option: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise `InvalidValueError` unless `value` is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise InvalidValueError(f"{where}: {option} must be one of {listed}, got {brief(value)}")
