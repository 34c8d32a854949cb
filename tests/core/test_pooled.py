"""Votes about tokens that are each made of several: what is cast for these, added up."""

import pytest
import torch

from tokprune import AttentionVotes, PooledVotes, Votes
from tokprune.errors import BackendError, InvalidValueError
from tokprune.functional import borda_scores

PLACES = torch.tensor([[[0, 3], [9, -1], [-1, -1], [5, 4]], [[8, 7], [1, 2], [6, 11], [10, -1]]])
"""Two images of four tokens, made of the 12 tokens of three tiles; one token is made of none."""


@pytest.fixture(params=["numbers", "attention"])
def votes(request):
    """Votes of two heads and [CLS] among five voters, about four tokens in each of three tiles."""
    generator = torch.Generator().manual_seed(0)
    if request.param == "numbers":
        return Votes(torch.rand(3, 10, 4, generator=generator), heads=2, layer=7)
    query, key = (torch.randn(3, 2, 5, 8, generator=generator) for _ in range(2))
    return AttentionVotes(query, key, 1.0, candidates="key", protected=1, layer=7)


def by_hand(votes):
    """Votes `[image voter token]`, added up one by one."""
    found = torch.zeros(2, votes.shape[1], 4)
    for image, tokens in enumerate(PLACES.tolist()):
        for token, places in enumerate(tokens):
            for place in places:
                if place >= 0:
                    found[image, :, token] += votes.values[place // 4, :, place % 4]
    return found


def test_votes_are_added_up(votes):
    pooled = PooledVotes(votes, PLACES)
    assert (pooled.shape, pooled.heads, pooled.layer, pooled.protected) == ((2, 10, 4), 2, 7, votes.protected)
    assert torch.allclose(pooled.values, by_hand(votes))
    assert torch.allclose(pooled.by_head, by_hand(votes).view(2, 2, 5, 4))
    assert torch.allclose(pooled.total(), by_hand(votes).sum(dim=1))
    assert torch.equal(pooled.points(), borda_scores(pooled.values))
    assert pooled.values[0, :, 2].abs().max() == 0  # made of none


def test_voters_at_the_same_place_of_every_tile_are_one(votes):
    pooled = PooledVotes(votes, PLACES)
    first = pooled.of_voters(0, 1)
    assert torch.allclose(first.by_head, by_hand(votes).view(2, 2, 5, 4)[:, :, :1])
    assert torch.allclose(first.total(), first.values.sum(dim=1))


def test_weights_count_after_pooling(votes):
    weights = torch.rand(2, 10, generator=torch.Generator().manual_seed(1))
    pooled = PooledVotes(votes, PLACES).with_weights(weights)
    assert torch.allclose(pooled.total(), (by_hand(votes) * weights[..., None]).sum(dim=1))
    assert torch.allclose(pooled.points(), borda_scores(by_hand(votes), weights))
    one_head = weights[:, :5]
    assert torch.equal(pooled.with_weights(one_head).weights, one_head.repeat(1, 2))
    some = pooled.of_voters(1, 3)
    assert torch.equal(some.weights, weights.view(2, 2, 5)[:, :, 1:3].flatten(1))


def test_voters_that_count_for_nothing_in_the_encoder_do_not_count_here():
    values, weights = torch.rand(2, 3, 2), torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    pooled = PooledVotes(Votes(values, weights), torch.tensor([[[0], [1]], [[2], [3]]]))
    assert torch.allclose(pooled.total(), torch.stack([values[0, :2].sum(dim=0), values[1].sum(dim=0)]))


@pytest.mark.parametrize("places", [torch.zeros(2, 4).long(), torch.zeros(1, 1, 1), torch.full((1, 1, 1), 12)])
def test_places_that_there_are_not_are_refused(votes, places):
    with pytest.raises(InvalidValueError, match="places"):
        PooledVotes(votes, places)


def test_a_kernel_that_cannot_count_them_says_so():
    with pytest.raises(BackendError):
        PooledVotes(Votes(torch.rand(3, 10, 4)), PLACES).points("triton")
