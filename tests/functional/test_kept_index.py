"""kept_index: where the kept tokens are, row by row."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokprune import InvalidValueError
from tokprune.functional import kept_index


@st.composite
def kept_masks(draw):
    """bool `[batch token]` with the same number in every row, and that number."""
    rows, tokens = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    count = draw(st.integers(0, tokens))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    return torch.stack([torch.randperm(tokens, generator=generator) < count for _ in range(rows)]), count


@given(given=kept_masks())
def test_the_kept_tokens_are_those_that_nonzero_finds_in_their_order(given):
    kept, count = given
    index = kept_index(kept, count)
    assert index.shape == (len(kept), count)
    assert all(torch.equal(found, row.nonzero()[:, 0]) for found, row in zip(index, kept, strict=True))


def test_many_tokens_keep_their_order_too():
    kept = torch.rand(3, 3000, generator=torch.Generator().manual_seed(0)).argsort(dim=1) < 1000
    assert all(torch.equal(found, row.nonzero()[:, 0]) for found, row in zip(kept_index(kept, 1000), kept, strict=True))


def test_a_row_that_keeps_fewer_goes_on_with_dropped_tokens():
    kept = torch.tensor([[False, False, True, False], [True, False, True, False]])
    assert kept_index(kept, 2).tolist() == [[2, 0], [0, 2]]


def test_the_mask_is_not_changed():
    kept = torch.tensor([[True, False]])
    kept_index(kept, 1)
    assert kept.tolist() == [[True, False]]


def test_the_result_can_gather():
    tokens = torch.arange(6.0).view(2, 3)
    index = kept_index(torch.tensor([[True, False, True], [False, True, True]]), 2)
    assert index.dtype == torch.int64
    assert tokens.gather(1, index).tolist() == [[0.0, 2.0], [4.0, 5.0]]


def test_a_wrong_shape_says_what_was_expected():
    with pytest.raises(InvalidValueError, match=r"kept must have shape \[batch token\], got \(3,\)"):
        kept_index(torch.ones(3, dtype=torch.bool), 1)
