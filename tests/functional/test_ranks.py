"""Ranks and Borda points, against scipy and against loops."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from tokprune import InvalidValueError
from tokprune.functional import average_ranks, borda_scores, catp_scores


def random_votes(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def triple_loop(attention, image_weights=None):
    """CATP as the paper says it: every image token, in every head, ranks the query tokens."""
    batch, heads, queries, images = attention.shape
    points = np.zeros((batch, queries))
    for image in range(batch):
        for head in range(heads):
            for voter in range(images):
                weight = 1.0 if image_weights is None else image_weights[image, voter].item()
                points[image] += weight * (rankdata(attention[image, head, :, voter].numpy()) - 1)
    return torch.tensor(points).float()


def test_ranks_of_a_ballot_with_a_tie():
    assert average_ranks(torch.tensor([[[0.1, 0.7, 0.1, 0.3]]])).tolist() == [[[0.5, 3.0, 0.5, 2.0]]]


@pytest.mark.parametrize("tokens", [1, 2, 3, 31, 32, 33, 257])
def test_ranks_equal_scipys_at_every_size(tokens):
    votes = random_votes(2, 5, tokens)
    np.testing.assert_array_equal(average_ranks(votes).numpy(), rankdata(votes.numpy(), axis=-1) - 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_ranks_equal_scipys_in_every_floating_type(dtype):
    votes = random_votes(1, 8, 100).to(dtype)
    np.testing.assert_array_equal(average_ranks(votes).numpy(), rankdata(votes.double().numpy(), axis=-1) - 1)


def test_a_ballot_of_equals_gives_all_tokens_the_middle_rank():
    assert (average_ranks(torch.full((1, 2, 7), 0.3)) == 3).all()


def test_infinite_votes_rank_at_the_ends():
    votes = torch.tensor([[[float("inf"), 0.0, float("-inf"), float("-inf")]]])
    assert average_ranks(votes).tolist() == [[[3.0, 2.0, 0.5, 0.5]]]


def test_minus_zero_ties_with_zero():
    assert average_ranks(torch.tensor([[[0.0, -0.0, 1.0]]])).tolist() == [[[0.5, 0.5, 2.0]]]


def test_ranks_of_a_transposed_view_are_those_of_its_copy():
    votes = random_votes(2, 9, 6).transpose(1, 2)
    assert torch.equal(average_ranks(votes), average_ranks(votes.contiguous()))


def test_ranks_come_without_a_gradient():
    assert not average_ranks(random_votes(1, 2, 3).requires_grad_()).requires_grad


def test_borda_is_the_weighted_sum_of_the_ranks():
    votes, weights = random_votes(3, 11, 8), random_votes(3, 11, seed=1)
    ranks = rankdata(votes.numpy(), axis=-1) - 1
    expected = np.einsum("bv,bvt->bt", weights.double().numpy(), ranks)
    np.testing.assert_allclose(borda_scores(votes, weights).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 2, 3, 2), (2, 3, 8, 5), (2, 4, 32, 17)])
def test_catp_is_the_triple_loop(shape):
    attention = random_votes(*shape)
    assert torch.equal(catp_scores(attention), triple_loop(attention))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_catp_of_half_precision_maps_is_the_triple_loop(dtype):
    attention = (random_votes(1, 2, 16, 9) * 2).softmax(dim=-1).to(dtype)
    assert torch.equal(catp_scores(attention), triple_loop(attention.float()))


def test_weighted_catp_is_the_weighted_triple_loop():
    attention, weights = random_votes(2, 3, 8, 5), random_votes(2, 5, seed=1)
    torch.testing.assert_close(catp_scores(attention, weights), triple_loop(attention, weights))


def test_a_voter_of_weight_zero_does_not_count():
    attention = random_votes(1, 2, 6, 4)
    weights = torch.tensor([[1.0, 1.0, 0.0, 1.0]])
    assert torch.equal(catp_scores(attention, weights), catp_scores(attention[..., [0, 1, 3]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: average_ranks(torch.rand(2, 3)), r"votes must have shape \[batch voter token\], got \(2, 3\)"),
        (lambda: borda_scores(torch.rand(2, 3)), r"votes must have shape \[batch voter token\]"),
        (lambda: borda_scores([[1.0]]), "votes must be a tensor .* got list"),
        (lambda: borda_scores(torch.rand(1, 2, 3), torch.rand(1, 3)), r"must have shape \(1, 2\), got \(1, 3\)"),
        (lambda: catp_scores(torch.rand(2, 3, 4)), r"\[batch head query image\], got \(2, 3, 4\)"),
        (lambda: catp_scores(torch.rand(1, 2, 3, 4), torch.rand(1, 3)), r"\[batch image\] = \(1, 4\), got \(1, 3\)"),
    ],
)
def test_a_wrong_shape_says_what_was_expected(call, message):
    with pytest.raises(InvalidValueError, match=message):
        call()
