"""top_k and top_p: examples and errors."""

import pytest
import torch

from tokprune import InvalidValueError
from tokprune.functional import top_k, top_p

both = pytest.mark.parametrize("select", [top_k, top_p])


def test_top_k_keeps_the_best_in_their_original_places():
    assert top_k(torch.tensor([[0.3, 0.9, 0.1, 0.5]]), 2).tolist() == [[False, True, False, True]]


def test_the_lower_index_wins_a_tie():
    assert top_k(torch.tensor([[1.0, 2.0, 1.0, 1.0]]), 3).tolist() == [[True, True, True, False]]


def test_every_image_is_chosen_from_by_itself():
    kept = top_k(torch.tensor([[1.0, 2.0], [9.0, 8.0]]), 1)
    assert kept.tolist() == [[False, True], [True, False]]


def test_top_p_keeps_fewer_where_the_scores_are_unequal():
    kept = top_p(torch.tensor([[6.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]), 0.5)
    assert kept.tolist() == [[True, False, False, False], [True, True, False, False]]


def test_scores_below_zero_are_shifted_up_for_top_p():
    scores = torch.tensor([[-1.0, -3.0, -3.0, -2.0]])
    assert torch.equal(top_p(scores, 0.5), top_p(scores + 3, 0.5))


def test_top_p_reads_a_count_as_a_share():
    scores = torch.tensor([[6.0, 2.0, 1.0, 1.0]])
    assert torch.equal(top_p(scores, 2), top_p(scores, 0.5))


def test_top_p_of_all_zeros_is_top_k():
    assert torch.equal(top_p(torch.zeros(2, 5), 0.4), top_k(torch.zeros(2, 5), 0.4))


def test_a_near_tie_far_from_zero_is_decided_by_the_numbers_and_not_by_rounding():
    scores = torch.tensor([[95_603.0, 95_604.0, 95_603.5]])
    assert top_k(scores, 1).tolist() == [[False, True, False]]


@both
def test_the_choice_needs_no_gradient(select):
    assert not select(torch.rand(1, 3).requires_grad_(), 1).requires_grad


@both
def test_the_scores_are_not_changed(select):
    scores = torch.tensor([[3.0, -1.0, 2.0]])
    select(scores, 0.5)
    assert scores.tolist() == [[3.0, -1.0, 2.0]]


@both
@pytest.mark.parametrize("keep", [0, -1, 0.0, 1.5, float("nan"), True, None, "half", 4])
def test_a_keep_that_is_none_is_refused(select, keep):
    with pytest.raises(InvalidValueError, match="keep"):
        select(torch.rand(1, 3), keep)


@both
def test_a_wrong_shape_says_what_was_expected(select):
    with pytest.raises(InvalidValueError, match=r"scores must have shape \[batch token\], got \(3,\)"):
        select(torch.rand(3), 1)
