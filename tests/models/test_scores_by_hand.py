"""Each scorer's scores and choice, worked out from the model's own attention maps."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import logits
from .oracle import best, borda_points, cross_attention, own_attention

IMAGES = 6


@pytest.fixture
def many(kind):
    """Six rows with one image each."""
    return prompts(kind, images=(1,) * IMAGES, pads=(0, 1, 2) * 2)


def elected(model, inputs, scorer, **options):
    with tokprune.apply(model, scorer=scorer, keep=3, **options) as handle:
        logits(model, inputs)
    return handle.report


def agrees(report, points):
    points = torch.as_tensor(points, dtype=torch.float32)
    return torch.allclose(report.scores, points, rtol=1e-4) and torch.equal(report.kept, best(points.tolist(), 3))


@pytest.mark.parametrize(
    ("scorer", "layers"),
    [("catp-vote", [0, 1]), ("catp-vote:layers=first", [0]), ("catp-vote:layers=last", [1])],
)
def test_catp_counts_borda_points_of_the_chosen_layers(model, many, scorer, layers):
    maps = cross_attention(model, many)
    assert agrees(elected(model, many, scorer), borda_points([maps[i] for i in layers]))


def test_layers_may_be_given_as_a_list(model, many):
    maps = cross_attention(model, many)
    report = elected(model, many, tokprune.scorers.CatpVote(layers=[1, 0]))
    assert agrees(report, borda_points(maps))


def test_sum_then_rank_adds_probabilities_before_it_ranks(model, many):
    report = elected(model, many, "catp-vote:order=sum-then-rank")
    assert agrees(report, borda_points([sum(cross_attention(model, many))]))


@pytest.mark.parametrize("weighting", ["softmax", "share"])
def test_weighted_catp_weighs_points_by_attention_received_in_the_encoder(model, many, weighting):
    received = own_attention(model, many)["vision_model.encoder.layers.2.self_attn"].sum(dim=(1, 2))
    weights = received.softmax(dim=1) if weighting == "softmax" else received / received.sum(dim=1, keepdim=True)
    report = elected(model, many, f"catp-weighted:weighting={weighting}")
    assert agrees(report, borda_points(cross_attention(model, many), weights))


def test_self_attention_sums_what_each_query_token_receives(model, many):
    maps = own_attention(model, many)
    received = sum(maps[f"qformer.encoder.layer.{i}.attention.attention"].sum(dim=(1, 2)) for i in range(4))
    assert agrees(elected(model, many, "self-attention"), received)


def test_l2_norm_measures_q_former_outputs_before_the_projection(model, many):
    outputs = model.get_image_features(many["pixel_values"]).qformer_outputs.last_hidden_state
    assert agrees(elected(model, many, "l2-norm"), outputs.detach().norm(dim=-1))


def test_distinct_measures_the_distance_from_the_mean(model, many):
    outputs = model.get_image_features(many["pixel_values"]).qformer_outputs.last_hidden_state.detach()
    assert agrees(elected(model, many, "distinct"), (outputs - outputs.mean(dim=1, keepdim=True)).norm(dim=-1))


def test_focus_prefers_low_entropy(model, many):
    entropy = sum((m * m.log()).sum(dim=(1, 3)) for m in cross_attention(model, many))
    assert agrees(elected(model, many, "focus"), entropy)


@pytest.mark.parametrize(("scorer", "expected"), [("first", [0, 1, 2]), ("stride", None), ("random", None)])
def test_blind_scorers_keep_the_right_number(model, many, scorer, expected):
    kept = elected(model, many, scorer).kept
    assert kept.sum(dim=1).tolist() == [3] * IMAGES
    if expected:
        assert kept[:, expected].all()


OPTIONS = [
    ("catp-vote", "catp-vote:layers=first"),
    ("catp-vote", "catp-vote:layers=last"),
    ("catp-vote:layers=first", "catp-vote:layers=last"),
    ("catp-vote", "catp-vote:order=sum-then-rank"),
    ("catp-vote", "catp-weighted"),
    ("catp-weighted", "catp-weighted:layers=first"),
    ("catp-weighted", "catp-weighted:weighting=share"),
    ("self-attention", "self-attention:layers=first"),
    ("self-attention", "self-attention:layers=last"),
    ("focus", "focus:layers=first"),
    ("random", "random:seed=1"),
]


@pytest.mark.parametrize(("one", "other"), OPTIONS, ids=str)
def test_every_option_of_a_scorer_can_change_what_is_kept(model, many, one, other):
    assert not torch.equal(elected(model, many, one).kept, elected(model, many, other).kept)


@pytest.mark.parametrize("aggregator", ["max", "plurality", "copeland"])
def test_every_voting_rule_can_change_what_is_kept(model, many, aggregator):
    other = elected(model, many, "catp-vote", aggregator=aggregator)
    assert not torch.equal(elected(model, many, "catp-vote").kept, other.kept)
