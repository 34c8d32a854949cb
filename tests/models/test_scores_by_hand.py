"""Each scorer's scores and choice, worked out from the model's own attention maps."""

import pytest
import torch

import tokprune

from .calls import logits
from .either import each_q_former
from .instructblip_oracle import outputs, received
from .oracle import best, borda_points, cross_attention, own_attention

pytestmark = each_q_former
IMAGES = 6


@pytest.fixture
def many(lay):
    """Six rows with one image each."""
    return lay(images=(1,) * IMAGES, pads=(0, 1, 2) * 2)


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
def test_catp_counts_borda_points_of_the_chosen_layers(either, many, scorer, layers):
    maps = cross_attention(either, many)
    assert agrees(elected(either, many, scorer), borda_points([maps[i] for i in layers]))


def test_layers_may_be_given_as_a_list(either, many):
    maps = cross_attention(either, many)
    report = elected(either, many, tokprune.scorers.CatpVote(layers=[1, 0]))
    assert agrees(report, borda_points(maps))


def test_sum_then_rank_adds_probabilities_before_it_ranks(either, many):
    report = elected(either, many, "catp-vote:order=sum-then-rank")
    assert agrees(report, borda_points([sum(cross_attention(either, many))]))


@pytest.mark.parametrize("weighting", ["softmax", "share"])
def test_weighted_catp_weighs_points_by_attention_received_in_the_encoder(either, many, weighting):
    got = own_attention(either, many)["vision_model.encoder.layers.2.self_attn"].sum(dim=(1, 2))
    weights = got.softmax(dim=1) if weighting == "softmax" else got / got.sum(dim=1, keepdim=True)
    report = elected(either, many, f"catp-weighted:weighting={weighting}")
    assert agrees(report, borda_points(cross_attention(either, many), weights))


def test_self_attention_sums_what_each_query_token_receives(either, many):
    assert agrees(elected(either, many, "self-attention"), received(either, many))


def test_l2_norm_measures_q_former_outputs_before_the_projection(either, many):
    assert agrees(elected(either, many, "l2-norm"), outputs(either, many).norm(dim=-1))


def test_distinct_measures_the_distance_from_the_mean(either, many):
    found = outputs(either, many)
    assert agrees(elected(either, many, "distinct"), (found - found.mean(dim=1, keepdim=True)).norm(dim=-1))


def test_focus_prefers_low_entropy(either, many):
    entropy = sum((m * m.log()).sum(dim=(1, 3)) for m in cross_attention(either, many))
    assert agrees(elected(either, many, "focus"), entropy)


@pytest.mark.parametrize(("scorer", "expected"), [("first", [0, 1, 2]), ("stride", None), ("random", None)])
def test_blind_scorers_keep_the_right_number(either, many, scorer, expected):
    kept = elected(either, many, scorer).kept
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
def test_every_option_of_a_scorer_can_change_what_is_kept(either, many, one, other):
    assert not torch.equal(elected(either, many, one).kept, elected(either, many, other).kept)


@pytest.mark.parametrize("aggregator", ["max", "plurality", "copeland"])
def test_every_voting_rule_can_change_what_is_kept(either, many, aggregator):
    scorers = ("catp-vote", "self-attention")
    kept = [[elected(either, many, scorer, aggregator=rule).kept for rule in (None, aggregator)] for scorer in scorers]
    assert not all(torch.equal(*pair) for pair in kept)
