"""Behind which layers tokens leave, and how many at each place."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokprune import InvalidValueError
from tokprune.after import check_after, falling_counts, layers_before
from tokprune.keep import keep_count
from tokprune.testing import keeps

NO_AFTER = [0, -1, 0.0, -0.5, 1.5, 2.0, math.nan, math.inf, True, False, None, "all", "", "13", [], (), [0, 1], [1, 1]]
NO_AFTER += [[2, 1], [1.0, 2.0], [True, 2], [1, None], {1, 2}, {1: 2}, 1j, np.bool_(True), np.array([1, 2]), [[1]]]

shares = st.floats(0, 1, exclude_min=True)
places = st.lists(st.integers(1, 40), min_size=1, max_size=6, unique=True).map(sorted).map(tuple)


@pytest.mark.parametrize("after", NO_AFTER, ids=repr)
def test_what_names_no_layers_is_refused_with_examples_of_what_does(after):
    with pytest.raises(InvalidValueError, match=r"names no layers; give a share .* 0\.33\), a number of .* or 'every'"):
        check_after(after)


def test_a_refused_after_is_a_value_error_too():
    with pytest.raises(ValueError, match="after=0"):
        check_after(0)


@pytest.mark.parametrize(
    ("given_as", "canonical"),
    [
        (13, 13),
        (np.int64(13), 13),
        (1, 1),
        (1.0, 1.0),
        (0.25, 0.25),
        (np.float32(0.25), 0.25),
        (Fraction(1, 4), 0.25),
        ([2, 4], (2, 4)),
        (range(1, 4), (1, 2, 3)),
        ([np.int64(3)], (3,)),
        ("every", "every"),
    ],
    ids=repr,
)
def test_after_has_one_canonical_form_of_plain_python(given_as, canonical):
    found = check_after(given_as)
    assert found == canonical
    assert type(found) is type(canonical)
    assert check_after(found) == found


@pytest.mark.parametrize(
    ("after", "depth", "layers"),
    [
        (1 / 3, 39, (13,)),
        (1 / 3, 3, (1,)),
        (1 / 3, 1, (1,)),
        (0.001, 39, (1,)),
        (0.99, 39, (39,)),
        (1.0, 39, (39,)),
        (1, 39, (1,)),
        (39, 39, (39,)),
        ((6, 13), 39, (6, 13)),
        ((3,), 3, (3,)),
        ("every", 4, (1, 2, 3, 4)),
        ("every", 1, (1,)),
    ],
)
def test_after_says_how_many_layers_run_before_each_cut(after, depth, layers):
    assert layers_before(after, depth) == layers


@pytest.mark.parametrize("after", [40, (6, 40), (40,)])
def test_more_layers_than_there_are_says_how_many_there_are(after):
    with pytest.raises(InvalidValueError, match=r"there are 39 layers; give a share of the depth"):
        layers_before(after, 39)


@given(after=st.one_of(shares, places, st.integers(1, 40), st.just("every")), depth=st.integers(1, 60))
def test_cuts_rise_and_stay_within_the_depth(after, depth):
    try:
        layers = layers_before(check_after(after), depth)
    except InvalidValueError:
        assert not isinstance(after, float)
        assert after != "every"
        assert max(np.atleast_1d(after)) > depth
    else:
        assert list(layers) == sorted(set(layers))
        assert 1 <= layers[0] <= layers[-1] <= depth


@given(share=shares, depth=st.integers(1, 60))
def test_a_share_is_within_half_a_layer_of_what_it_says_or_the_first_layer(share, depth):
    (layers,) = layers_before(share, depth)
    assert abs(layers - share * depth) <= 0.5 or layers == 1


@given(one=shares, other=shares, depth=st.integers(1, 60))
def test_a_larger_share_is_never_earlier(one, other, depth):
    assert layers_before(min(one, other), depth) <= layers_before(max(one, other), depth)


@pytest.mark.parametrize(
    ("keep", "total", "cuts", "counts"),
    [
        (0.25, 256, 1, (64,)),
        (0.25, 256, 3, (192, 128, 64)),
        (5, 16, 3, (13, 9, 5)),
        (15, 16, 3, (16, 16, 15)),
        (1.0, 16, 3, (16, 16, 16)),
        (1, 16, 2, (9, 1)),
        (0.01, 10, 2, (6, 1)),
    ],
)
def test_equal_steps_by_hand(keep, total, cuts, counts):
    assert falling_counts(keep, total, cuts) == counts


@given(keep=keeps(300), total=st.integers(300, 600), cuts=st.integers(1, 40))
def test_counts_never_rise_and_end_at_keep_in_steps_that_differ_by_one_at_most(keep, total, cuts):
    counts = falling_counts(keep, total, cuts)
    steps = [before - after for before, after in zip((total, *counts), counts, strict=False)]
    assert len(counts) == cuts
    assert counts[-1] == keep_count(keep, total)
    assert min(steps) >= 0
    assert max(steps) - min(steps) <= 1


@given(keep=keeps(300), total=st.integers(300, 600))
def test_one_cut_goes_down_to_keep_at_once(keep, total):
    assert falling_counts(keep, total, 1) == (keep_count(keep, total),)


@pytest.mark.parametrize("keep", [0, 1.5, math.nan, True, 17])
def test_a_keep_that_is_none_has_no_steps(keep):
    with pytest.raises(InvalidValueError, match="keep"):
        falling_counts(keep, 16, 3)


def test_a_tensor_is_no_after():
    for tensor in (torch.tensor(3), torch.tensor([1, 2])):
        with pytest.raises(InvalidValueError, match="names no layers"):
            check_after(tensor)
