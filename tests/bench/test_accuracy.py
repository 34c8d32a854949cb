import math

import pytest

from tokprune.bench.accuracy import Accuracy, count, paired_p_value
from tokprune.errors import InvalidValueError


@pytest.mark.parametrize(("correct", "total"), [(0, 20), (7, 10), (96, 100), (50, 50)])
def test_interval_is_wilsons_formula(correct, total):
    z = 1.959963984540054
    p = correct / total
    centre = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    low, high = Accuracy(correct, total).interval
    assert low == pytest.approx(max(centre - half, 0), abs=1e-9)
    assert high == pytest.approx(min(centre + half, 1), abs=1e-9)


def test_count_reads_outcomes():
    assert count("1101") == Accuracy(3, 4)
    assert count("1101").fraction == 0.75


@pytest.mark.parametrize(("correct", "total"), [(-1, 3), (4, 3), (0, 0)])
def test_impossible_counts_are_refused(correct, total):
    with pytest.raises(InvalidValueError, match="correct <= total"):
        Accuracy(correct, total)


def test_paired_test_by_hand():
    # 8 questions lost, 1 won, 11 alike: 2 * (C(9,0) + C(9,1)) / 2^9
    reference = "1" * 8 + "0" + "1" * 6 + "0" * 5
    outcomes = "0" * 8 + "1" + "1" * 6 + "0" * 5
    assert paired_p_value(outcomes, reference) == pytest.approx(20 / 512)


def test_paired_test_looks_at_pairs_not_at_totals():
    assert paired_p_value("0101010101", "0101010101") == 1.0
    assert paired_p_value("1" * 6 + "0" * 6, "0" * 6 + "1" * 6) == 1.0
    assert paired_p_value("1" * 6 + "1" * 6, "0" * 6 + "1" * 6) == pytest.approx(2 / 64)


def test_paired_test_needs_the_same_questions():
    with pytest.raises(InvalidValueError, match="got 2 and 3"):
        paired_p_value("01", "011")
