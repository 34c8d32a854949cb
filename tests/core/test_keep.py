"""What keep means, and what it cannot mean."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokprune import InvalidValueError
from tokprune.keep import check_keep, keep_count

NOT_A_KEEP = [0, -1, 0.0, -0.5, 1.5, 2.0, math.nan, math.inf, -math.inf, True, False, None, "half", "0.5", [8], 1j]


@pytest.mark.parametrize("keep", [*NOT_A_KEEP, np.bool_(True), np.float32("nan"), torch.tensor(8), Decimal("0.5")])
def test_what_is_not_a_keep_is_refused_with_an_example_of_what_is(keep):
    with pytest.raises(InvalidValueError, match=r"keep ratio \(a float in \(0, 1\], such as 0\.25\) or a keep count"):
        check_keep(keep)


@pytest.mark.parametrize("keep", NOT_A_KEEP)
def test_a_refused_keep_is_a_value_error_too(keep):
    with pytest.raises(ValueError, match="keep"):
        keep_count(keep, 32)


def test_a_whole_float_gets_the_hint_that_a_count_is_an_int():
    with pytest.raises(InvalidValueError, match=r"did you mean keep=2\?"):
        check_keep(2.0)


@pytest.mark.parametrize("keep", [1.5, math.inf, 0.0, -3.0, math.nan])
def test_other_floats_get_no_hint(keep):
    with pytest.raises(InvalidValueError) as caught:
        check_keep(keep)
    assert "did you mean" not in str(caught.value)


def test_more_than_there_are_says_how_many_there_are():
    with pytest.raises(InvalidValueError, match="keep=33 is more than the 32 tokens there are"):
        keep_count(33, 32)


@pytest.mark.parametrize(
    "keep", [8, np.int64(8), np.uint8(8), 0.25, np.float32(0.25), np.float64(0.25), Fraction(1, 4)]
)
def test_numbers_of_every_library_are_accepted_and_become_pythons(keep):
    assert keep_count(keep, 32) == 8
    assert type(check_keep(keep)) in (int, float)


@pytest.mark.parametrize(
    ("keep", "total", "count"),
    [
        (1.0, 32, 32),
        (0.5, 32, 16),
        (0.01, 32, 1),
        (0.26, 32, 9),
        (0.07, 100, 7),
        (1, 1, 1),
        (1e-300, 5, 1),
        (1 / 3, 3, 1),
    ],
)
def test_a_ratio_is_rounded_up_and_keeps_at_least_one(keep, total, count):
    assert keep_count(keep, total) == count


@given(total=st.integers(1, 5000), parts=st.integers(1, 5000))
def test_a_fraction_of_the_tokens_keeps_exactly_that_many(total, parts):
    parts = min(parts, total)
    assert keep_count(parts / total, total) == keep_count(parts, total) == parts


@given(keep=st.floats(0, 1, exclude_min=True), total=st.integers(1, 5000))
def test_a_ratio_keeps_between_one_and_all_and_never_fewer_than_it_says(keep, total):
    assert 1 <= keep_count(keep, total) <= total
    assert keep_count(keep, total) >= keep * total - 1e-6
