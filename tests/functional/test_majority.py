"""First places and duels."""

import pytest
import torch

from tokprune import InvalidValueError
from tokprune.functional import copeland_scores, pairwise_margins, plurality_scores

VOTES = torch.tensor([[[0.1, 0.7, 0.2], [0.5, 0.5, 0.0], [0.3, 0.2, 0.9]]])


def test_tied_favourites_share_the_point():
    assert plurality_scores(VOTES).tolist() == [[0.5, 1.5, 1.0]]


def test_first_places_sum_to_the_weight_of_the_voters():
    assert plurality_scores(VOTES, torch.tensor([[2.0, 0.5, 1.0]])).sum() == 3.5


def test_margins_are_by_how_many_voters_prefer_one_to_the_other():
    assert pairwise_margins(VOTES)[0].tolist() == [[0, 0, -0.0 + 1 - 1 - 1], [0, 0, 1], [1, -1, 0]]


def test_margins_are_antisymmetric():
    margins = pairwise_margins(torch.rand(2, 7, 5), torch.rand(2, 7))
    assert torch.equal(margins, -margins.transpose(1, 2))


def test_margins_do_not_depend_on_how_many_voters_are_compared_at_a_time():
    votes, weights = torch.rand(1, 700, 100), torch.rand(1, 700)  # more than fit into one comparison
    sign = torch.sign(votes[0, :, :, None] - votes[0, :, None]).double()
    torch.testing.assert_close(pairwise_margins(votes, weights)[0], (sign * weights[0, :, None, None]).sum(dim=0))


@pytest.mark.parametrize("seed", range(5))
def test_rounding_does_not_break_a_draw(seed):
    # One voter each way at every weight: all duels are drawn, in whatever order the weights are added.
    generator = torch.Generator().manual_seed(seed)
    weights, votes = torch.rand(1, 50, generator=generator).pow(20), torch.rand(1, 50, 2, generator=generator)
    mixed = torch.randperm(100, generator=generator)
    votes, weights = torch.cat([votes, votes.flip(2)], dim=1)[:, mixed], torch.cat([weights, weights], dim=1)[:, mixed]
    assert copeland_scores(pairwise_margins(votes, weights)).tolist() == [[0.5, 0.5]]


def test_infinite_votes_can_be_compared():
    votes = torch.tensor([[[float("-inf"), float("-inf"), float("inf")]]])
    assert copeland_scores(pairwise_margins(votes)).tolist() == [[0.5, 0.5, 2.0]]


def test_who_wins_all_duels_gets_a_point_for_each():
    assert copeland_scores(pairwise_margins(torch.tensor([[[3.0, 1.0, 2.0]]]))).tolist() == [[2.0, 0.0, 1.0]]


def test_the_rock_paper_scissors_of_condorcet_is_a_draw():
    votes = torch.tensor([[[3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [2.0, 1.0, 3.0]]])
    assert copeland_scores(pairwise_margins(votes)).tolist() == [[1.0, 1.0, 1.0]]


def test_copeland_points_sum_to_the_number_of_duels():
    assert (copeland_scores(pairwise_margins(torch.rand(2, 9, 6))).sum(dim=1) == 15).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plurality_scores(torch.rand(2, 3)), r"\[batch voter token\], got \(2, 3\)"),
        (lambda: plurality_scores(torch.rand(1, 2, 3), torch.rand(1, 3)), r"must have shape \(1, 2\)"),
        (lambda: pairwise_margins(torch.rand(2, 3)), r"\[batch voter token\]"),
        (lambda: pairwise_margins(torch.rand(1, 2, 3), torch.rand(2, 2)), r"must have shape \(1, 2\)"),
        (lambda: copeland_scores(torch.rand(1, 2, 3)), "margins must be square"),
        (lambda: copeland_scores(torch.rand(2, 3)), r"\[batch token token\]"),
    ],
)
def test_a_wrong_shape_says_what_was_expected(call, message):
    with pytest.raises(InvalidValueError, match=message):
        call()
