"""Hypothesis strategies: what they promise, and that they can make what tests are after."""

import hypothesis
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tokprune
from tokprune import Signal, Votes
from tokprune.keep import keep_count
from tokprune.testing import ballots, keeps, scores, signals, tiny_models, voter_weights, votes


def find(strategy, condition):
    """One example, not the smallest; fails if there is none."""
    return hypothesis.find(strategy, condition, settings=settings(phases=[hypothesis.Phase.generate]))


@given(values=ballots())
def test_ballots_are_exact_in_every_floating_type(values):
    assert torch.equal(values.half().float(), values)
    assert torch.equal(values.bfloat16().float(), values)


def test_ballots_can_hold_ties_and_can_be_without():
    assert find(ballots(tokens=st.just(3)), lambda v: len(v[0, 0].unique()) == 1).numel()
    assert find(ballots(tokens=st.just(3)), lambda v: len(v[0, 0].unique()) == 3).numel()


@given(values=ballots(ties=False))
def test_ballots_without_ties_have_none(values):
    assert all(len(ballot.unique()) == values.shape[2] for image in values for ballot in image)


def test_votes_come_with_weights_and_without():
    assert isinstance(find(votes(), lambda v: v.weights is None), Votes)
    assert isinstance(find(votes(), lambda v: v.weights is not None), Votes)


@given(weights=voter_weights(2, 3))
def test_weights_are_above_zero(weights):
    assert weights.shape == (2, 3)
    assert (weights > 0).all()


def test_scores_can_tie_and_be_negative():
    assert find(scores(tokens=st.just(4)), lambda s: len(s[0].unique()) < 4).numel()
    assert find(scores(), lambda s: bool((s < 0).any())).numel()


@given(keep=keeps(7))
def test_every_keep_can_be_kept(keep):
    assert 1 <= keep_count(keep, 7) <= 7


def test_keeps_are_ratios_and_counts():
    assert find(keeps(7), lambda keep: isinstance(keep, float)) > 0
    assert find(keeps(7), lambda keep: keep == 7) == 7


@given(case=tiny_models())
@settings(max_examples=8)
def test_tiny_models_can_be_pruned(case):
    model, inputs = case
    with tokprune.apply(model, scorer="l2-norm", keep=3) as handle, torch.no_grad():
        model(**inputs)
    assert handle.report.counts.tolist() == [3] * inputs["pixel_values"].shape[0]


def test_tiny_models_have_one_image_or_several_and_either_kind_of_language_model():
    assert find(tiny_models(), lambda case: len(case[1]["pixel_values"]) == 1)
    assert find(tiny_models(), lambda case: len(case[1]["pixel_values"]) == 3)
    assert find(tiny_models(), lambda case: case[0].config.text_config.model_type == "t5")


@given(signal=signals(needs=("tokens", "text")))
def test_signals_offer_what_is_needed(signal):
    assert isinstance(signal, Signal)
    assert signal.offered == ("tokens", "text")
