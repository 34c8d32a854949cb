"""Every option of a scorer can change what is kept; an option that cannot is not one."""

from dataclasses import fields

import pytest
import torch

from tokprune import Policy, Votes, aggregators
from tokprune.testing.observations import observations

from .laws import kept_set

CAN_DIFFER = [
    ("catp-vote", "catp-vote:layers=first"),
    ("catp-vote", "catp-vote:layers=last"),
    ("catp-vote:layers=first", "catp-vote:layers=last"),
    ("catp-vote", "catp-vote:layers=[0,2]"),
    ("catp-vote", "catp-vote:order=sum-then-rank"),
    ("catp-vote", "catp-weighted"),
    ("catp-weighted", "catp-weighted:layers=first"),
    ("catp-weighted", "catp-weighted:weighting=share"),
    ("catp-vote", "catp-weighted:weighting=share"),
    ("focus", "focus:layers=last"),
    ("self-attention", "self-attention:layers=first"),
    ("random", "random:seed=1"),
]
EVERYTHING = ("tokens", "cross_attention", "self_attention", "encoder_attention")


def kept(scorer, target="query", **options):
    """What a policy keeps of the largest made-up image, from one token to all."""
    *_, observed = observations(target=target)
    signal = observed.signal(EVERYTHING)
    return [kept_set(Policy(scorer, k, **options).choose(signal).kept) for k in (1, 2, 4, 8, 16, 24)]


@pytest.mark.parametrize(("one", "other"), CAN_DIFFER)
def test_an_option_can_change_what_is_kept(one, other):
    assert kept(one) != kept(other)


@pytest.mark.parametrize("layers", ["all", "first", "[0,2]"])
def test_other_layers_of_the_encoder_can_keep_other_tokens(layers):
    last = kept("received-attention", target="image")
    assert last != kept(f"received-attention:layers={layers}", target="image")
    assert last == kept("received-attention:layers=last", target="image")


@pytest.mark.parametrize("aggregator", ["sum", "mean", "max", "plurality", "copeland"])
def test_another_voting_rule_can_keep_other_tokens(aggregator):
    assert kept("catp-vote") != kept("catp-vote", aggregator=aggregator)


@pytest.mark.parametrize("aggregator", ["borda", "sum"])
def test_who_counts_changes_nothing_and_is_the_only_option_of_a_voting_rule(aggregator):
    rule = Policy(aggregator=aggregator).aggregator
    assert [option.name for option in fields(rule)] == ["backend"]
    assert kept("catp-vote", aggregator=f"{aggregator}:backend=reference") == kept("catp-vote", aggregator=aggregator)


@pytest.mark.parametrize("selector", ["top-p"])
def test_another_selector_can_keep_other_tokens(selector):
    assert kept("catp-vote") != kept("catp-vote", selector=selector)


def test_the_mean_differs_from_the_sum_where_voters_have_weights_that_do_not_sum_to_one():
    votes = Votes(torch.tensor([[[1.0, 2.0]]]), weights=torch.tensor([[3.0]]))
    assert aggregators.Total()([votes]).tolist() == [[3.0, 6.0]]
    assert aggregators.Mean()([votes]).tolist() == [[1.0, 2.0]]


def test_one_layer_is_the_same_by_either_order():
    assert kept("catp-vote:layers=first") == kept("catp-vote:layers=first,order=sum-then-rank")


def test_listing_all_layers_is_the_same_as_all():
    assert kept("catp-vote") == kept("catp-vote:layers=[0,1,2,3]") == kept("catp-vote:layers=[3,2,1,0]")
