"""Accuracy: the share of right answers, how sure it is, and whether two runs on the same questions differ."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import binomtest

from tokprune.errors import InvalidValueError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Accuracy:
    """The outcome of `total` questions of which `correct` were answered right."""

    correct: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.total or self.total == 0:
            raise InvalidValueError(
                f"accuracy: expected 0 <= correct <= total and total >= 1, got {self.correct} of {self.total}"
            )

    @property
    def fraction(self) -> float:
        """Right answers / questions, in [0, 1]."""
        return self.correct / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% Wilson interval of the fraction: honest near 0 and 1, where the usual one is not."""
        bounds = binomtest(self.correct, self.total).proportion_ci(CONFIDENCE, method="wilson")
        return float(bounds.low), float(bounds.high)


def count(outcomes: str) -> Accuracy:
    """The accuracy of a string of outcomes, one character per question: `"1"` right, `"0"` wrong."""
    return Accuracy(outcomes.count("1"), len(outcomes))


def paired_p_value(outcomes: str, reference: str) -> float:
    """Exact two-sided McNemar test: how likely is a difference this large if the two are equally good?

    Only questions on which the two disagree count: under "equally good" each goes either way like a coin. Not corrected
    for the number of rows in a table.

    Raises:
        InvalidValueError: The two do not hold the outcomes of the same number of questions.
    """
    if len(outcomes) != len(reference):
        raise InvalidValueError(
            f"paired test: needs outcomes on the same questions, got {len(outcomes)} and {len(reference)} of them"
        )
    lost = sum(a < b for a, b in zip(outcomes, reference, strict=True))
    won = sum(a > b for a, b in zip(outcomes, reference, strict=True))
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
