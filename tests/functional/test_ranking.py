"""Ranks by comparing and by sorting are the same ranks, whatever the block they are counted in."""

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from tokprune.functional import average_ranks, borda_scores, chunks, ranking

INFINITE = float("inf")


def ballots(batch, voters, tokens, levels=5):
    """Votes full of ties, some of them infinite."""
    drawn = torch.randint(
        -levels, levels + 1, (batch, voters, tokens), generator=torch.Generator().manual_seed(0)
    ).float()
    return drawn.masked_fill(drawn == levels, INFINITE).masked_fill(drawn == -levels, -INFINITE) / 8


def expected(votes, weights=None):
    ranks = rankdata(votes.double().numpy(), axis=-1) - 1
    weights = torch.ones(votes.shape[:2]) if weights is None else weights
    return np.einsum("bv,bvt->bt", weights.double().numpy(), ranks)


@pytest.fixture(params=[0, 64, 1000], ids=["sorting", "either", "comparing"])
def compared(request, monkeypatch):
    monkeypatch.setattr(ranking, "COMPARED", request.param)


@pytest.fixture(params=[1, 50, 2**20], ids=["voter by voter", "in blocks", "at once"])
def cells(request, monkeypatch):
    monkeypatch.setattr(chunks, "CPU_CELLS", request.param)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 2), (3, 1, 5), (2, 7, 8), (1, 4, 65)])
def test_points_are_sums_of_scipys_ranks(compared, cells, shape, dtype):
    votes, weights = ballots(*shape).to(dtype), torch.rand(shape[:2])
    np.testing.assert_array_equal(borda_scores(votes).numpy(), expected(votes))
    np.testing.assert_allclose(borda_scores(votes, weights).numpy(), expected(votes, weights), rtol=1e-6)
    np.testing.assert_array_equal(average_ranks(votes).numpy(), rankdata(votes.double().numpy(), axis=-1) - 1)


@pytest.mark.parametrize("gap", [2.0**-149, 2.0**-126, 2.0**-60, 2.0**-24])
def test_the_smallest_difference_decides(compared, gap):
    base = 1.0 - 2**-24 if gap == 2**-24 else 0.0
    votes = torch.tensor([[[base, base + gap, base]]])
    assert votes[0, 0, 1] > votes[0, 0, 0]
    assert borda_scores(votes).tolist() == [[0.5, 2.0, 0.5]]


def test_the_largest_votes_are_told_from_infinity(compared):
    largest = torch.finfo(torch.float32).max
    votes = torch.tensor([[[-INFINITE, -largest, largest, INFINITE]]])
    assert borda_scores(votes).tolist() == [[0.0, 1.0, 2.0, 3.0]]


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4)])
def test_without_voters_or_images_there_are_no_points(compared, shape):
    assert borda_scores(torch.zeros(shape)).tolist() == [[0.0] * 4] * shape[0]
    assert average_ranks(torch.zeros(shape)).shape == shape


def test_votes_are_left_as_they_were(compared):
    votes = ballots(2, 7, 8)
    before = votes.clone()
    borda_scores(votes)
    assert torch.equal(votes, before)
