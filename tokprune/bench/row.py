"""One row of a benchmark: one policy, or several together, measured on all samples."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

from tokprune.bench.accuracy import Accuracy, count
from tokprune.errors import InvalidValueError

UNPRUNED = "unpruned"
BLIND = "blind"

Tokens = float | dict[str, float]
"""Tokens per image of the one target there is, or by target."""


@dataclass(frozen=True)
class Row:
    """What was measured of one policy, of a list of policies, of the unpruned model, or of the blind one."""

    label: str
    """What tables and plots call it: the scorer or the policies as they were asked for, `"unpruned"` or `"blind"`."""
    keep: float | int | None
    """Keep ratio (a float) or keep count (an int) asked for; None for a list of policies and without any."""
    positions: str | None
    """The same."""
    policy: dict[str, Any] | list[dict[str, Any]] | None
    """`Policy.to_dict()`, a list of such, or None for the unpruned and the blind model."""
    tokens: Tokens
    """Target tokens per image before pruning, mean; by target where a list of policies was asked for."""
    tokens_kept: Tokens
    """Target tokens per image really kept, mean; the same."""
    length_before: float | None
    """Tokens per sample (padding included) that the language model was given unpruned, mean; None: not measured."""
    length_after: float | None
    """Tokens per sample (padding included) that the language model was given, mean; None where it was not measured."""
    outcomes: str
    """One character per sample, in order: `"1"` answered right (a transcript without an error), `"0"` wrong."""
    kinds: dict[str, tuple[int, int]]
    """Kind of question -> (right answers, questions)."""
    p_value: float | None
    """Paired exact McNemar test against the unpruned model; None for the unpruned model itself."""
    seconds: float
    """Wall-clock time of all samples, picture preparation included."""
    certificate: dict[str, Any]
    word_errors: list[tuple[int, int]] | None = None
    """Of each sound: wrong words, and words of its transcript; None where answers are no transcripts."""

    @property
    def word_error_rate(self) -> float | None:
        """Wrong words of all sounds / words of all transcripts."""
        if not self.word_errors:
            return None
        wrong, words = map(sum, zip(*self.word_errors, strict=True))
        return wrong / max(words, 1)

    @cached_property
    def accuracy(self) -> Accuracy:
        """Right answers of all."""
        return count(self.outcomes)

    @property
    def counts(self) -> list[tuple[str, float, float]]:
        """Target, its tokens per image before pruning, and kept; the target is empty where there is but one."""
        before, kept = (each if isinstance(each, dict) else {"": each} for each in (self.tokens, self.tokens_kept))
        return [(target, before[target], kept[target]) for target in before]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; carries the derived numbers too, for readers that are not Python."""
        low, high = self.accuracy.interval
        derived = {"correct": self.accuracy.correct, "total": self.accuracy.total, "accuracy": self.accuracy.fraction}
        derived |= {"low": low, "high": high}
        values = asdict(self) | derived
        if self.word_errors is None:
            del values["word_errors"]
            return values
        return values | {"word_error_rate": self.word_error_rate}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The row that `to_dict` wrote; derived numbers are computed anew.

        Raises:
            InvalidValueError: A field is missing.
        """
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        try:
            return cls(**known | {"kinds": {kind: (pair[0], pair[1]) for kind, pair in values["kinds"].items()}})
        except (TypeError, KeyError, AttributeError) as error:
            raise InvalidValueError(f"row: not a benchmark row ({error})") from error
