"""Aggregators over several layers, and where there is nothing to aggregate."""

import weakref

import pytest
import torch

from tokprune import InvalidValueError, Votes, aggregators
from tokprune.functional import borda_scores, plurality_scores

from .matrix import REGISTRY, create

every_aggregator = pytest.mark.parametrize("name", REGISTRY.names("aggregator"))


def layers(*sizes):
    return [Votes(torch.randn(2, voters, 5), torch.rand(2, voters), layer=i) for i, voters in enumerate(sizes)]


@pytest.mark.parametrize(
    ("aggregator", "function"), [(aggregators.Borda(), borda_scores), (aggregators.Plurality(), plurality_scores)]
)
def test_points_of_layers_add_up(aggregator, function):
    votes = layers(3, 7)
    assert torch.equal(aggregator(votes), sum(function(v.values, v.weights) for v in votes))


def test_copeland_counts_all_layers_as_one_electorate():
    votes = layers(3, 7)
    together = Votes(torch.cat([v.values for v in votes], 1), torch.cat([v.weights for v in votes], 1))
    assert torch.equal(aggregators.Copeland()(votes), aggregators.Copeland()([together]))


def test_the_mean_counts_every_voter_once_also_where_layers_differ_in_size():
    votes = [Votes(torch.tensor([[[1.0], [1.0], [1.0]]])), Votes(torch.tensor([[[5.0]]]))]
    assert aggregators.Mean()(votes).tolist() == [[2.0]]


def test_the_maximum_is_over_layers_too():
    votes = [Votes(torch.tensor([[[1.0, 4.0]]])), Votes(torch.tensor([[[3.0, 2.0]]]))]
    assert aggregators.Maximum()(votes).tolist() == [[3.0, 4.0]]


@every_aggregator
def test_no_votes_at_all_is_an_error_that_names_the_aggregator(name):
    with pytest.raises(InvalidValueError, match=f"aggregator '{name}': the scorer gave no votes"):
        create("aggregator", name)(iter(()))


@every_aggregator
def test_the_order_of_the_voters_does_not_matter_whatever_their_weights(name):
    torch.manual_seed(1)
    values, weights, order = torch.randn(1, 500, 6), torch.rand(1, 500), torch.randperm(500)
    once = create("aggregator", name)([Votes(values, weights)])
    again = create("aggregator", name)([Votes(values[:, order], weights[:, order])])
    assert torch.equal(once, again)


class Lazy(Votes):
    """Votes that are made when they are read, and complain if those of another layer are still there."""

    alive = None

    @property
    def values(self):
        assert Lazy.alive is None or Lazy.alive() is None, "two layers' votes at once"
        made = self._values.clone()
        Lazy.alive = weakref.ref(made)
        return made


@every_aggregator
def test_the_votes_of_two_layers_never_exist_at_once(name):
    create("aggregator", name)(Lazy(torch.randn(1, 4, 3)) for _ in range(3))
