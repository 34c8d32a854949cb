"""Quartiles: the middle of many measurements, and where their middle half lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from statistics import quantiles as cut_points


@dataclass(frozen=True)
class Quartiles:
    """Median and the two ends of the middle half."""

    low: float
    middle: float
    high: float

    @property
    def quotient(self) -> str:
        """As text, for quotients: two decimals.

        Example:
            >>> Quartiles(0.981, 1.023, 1.1).quotient
            '1.02 (0.98 to 1.10)'
        """
        return f"{self.middle:.2f} ({self.low:.2f} to {self.high:.2f})"

    @property
    def milliseconds(self) -> str:
        """As text, for seconds: milliseconds with three digits.

        Example:
            >>> Quartiles(0.0121, 0.0123, 0.0128).milliseconds
            '12.3 (12.1 to 12.8)'
        """
        middle, low, high = (three_digits(value * 1e3) for value in (self.middle, self.low, self.high))
        return f"{middle} ({low} to {high})"


def three_digits(value: float) -> str:
    """Three digits that say something, without an exponent.

    Example:
        >>> three_digits(0.01234), three_digits(2345.6)
        ('0.0123', '2346')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def quartiles(values: Sequence[float]) -> Quartiles:
    """The quartiles of at least one value.

    Example:
        >>> quartiles([1.0, 2.0, 3.0, 4.0, 100.0])
        Quartiles(low=2.0, middle=3.0, high=4.0)
    """
    if len(values) < 2:
        return Quartiles(values[0], values[0], values[0])
    low, _, high = cut_points(values, n=4, method="inclusive")
    return Quartiles(low, median(values), high)
