"""Target "image": each scorer's scores and choice, worked out from the encoder's own attention and vectors."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import logits
from .either import only
from .image_oracle import DEPTH, TOKENS, encode, norms, of_layers, ranked, received
from .oracle import best

IMAGES, COUNT = 3, 5


@pytest.fixture
def kind():
    """One is enough: the image encoder does not know which language model comes later."""
    return "opt"


@pytest.fixture
def many():
    """Three rows with one image each."""
    return prompts("opt", images=(1,) * IMAGES, pads=(0, 1, 2))


def elected(model, inputs, scorer, **options):
    with tokprune.apply(model, scorer=scorer, **{"keep": COUNT, "target": "image", "after": 2, **options}) as handle:
        logits(model, inputs)
    return handle.report


def points(model, inputs, hand, after=2):
    with torch.no_grad():
        return encode(model, inputs["pixel_values"], {after: COUNT}, hand).scores


def agrees(report, expected):
    expected = torch.as_tensor(expected, dtype=torch.float32)
    return torch.allclose(report.scores, expected, rtol=1e-4) and torch.equal(report.kept, best(expected.tolist(), 5))


LAYERS = {
    "received-attention": [1],
    "received-attention:layers=last": [1],
    "received-attention:layers=first": [0],
    "received-attention:layers=all": [0, 1],
    "received-attention:layers=[0]": [0],
    "received-attention:layers=[-1]": [1],
    "self-attention": [0, 1],
    "self-attention:layers=last": [1],
}
"""Scorer -> layers in front of a cut behind the second."""


@pytest.mark.parametrize("scorer", LAYERS)
def test_received_attention_is_summed_over_heads_voters_and_the_layers_before_the_cut(model, many, scorer):
    expected = points(model, many, of_layers(received, *LAYERS[scorer]))
    assert agrees(elected(model, many, scorer), expected)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_the_last_layer_is_the_one_in_front_of_the_cut(model, many, after):
    expected = points(model, many, of_layers(received, after - 1), after)
    assert agrees(elected(model, many, "received-attention", after=after), expected)


def test_cls_votes_and_is_no_candidate(model, many):
    report = elected(model, many, "received-attention")
    assert report.scores.shape == report.kept.shape == (IMAGES, TOKENS)
    without = points(model, many, lambda maps, tokens: received([maps[-1][:, :, 1:]]))
    assert not torch.allclose(report.scores, without, rtol=1e-2)


@pytest.mark.parametrize(("layers", "chosen"), [("last", [1]), ("all", [0, 1])])
def test_borda_ranks_the_image_tokens_by_every_heads_and_every_tokens_attention(model, many, layers, chosen):
    report = elected(model, many, f"received-attention:layers={layers}", aggregator="borda")
    assert agrees(report, points(model, many, of_layers(ranked, *chosen)))
    assert report.scores.sum(dim=1).tolist() == [len(chosen) * 4 * (TOKENS + 1) * TOKENS * (TOKENS - 1) / 2] * IMAGES


@pytest.mark.parametrize("after", [1, DEPTH])
def test_l2_norm_measures_what_leaves_the_layer(model, many, after):
    assert agrees(elected(model, many, "l2-norm", after=after), points(model, many, norms, after))


def test_distinct_measures_the_distance_from_the_mean_of_the_image_tokens(model, many):
    def distances(maps, tokens):
        return (tokens - sum(tokens.unbind(dim=1))[:, None] / TOKENS).norm(dim=-1).tolist()

    assert agrees(elected(model, many, "distinct"), points(model, many, distances))


BIT_REVERSED = [0, 8, 4, 12, 2]
"""The first of 0 .. 15 with their four binary digits read backwards."""


@pytest.mark.parametrize(("scorer", "expected"), [("first", [0, 1, 2, 3, 4]), ("stride", BIT_REVERSED)])
def test_blind_scorers_keep_places(model, many, scorer, expected):
    kept = elected(model, many, scorer).kept
    assert kept.nonzero()[:, 1].view(IMAGES, COUNT).tolist() == [sorted(expected)] * IMAGES


def test_random_keeps_the_places_its_seed_draws(model, many):
    draw = torch.rand(TOKENS, generator=torch.Generator().manual_seed(3)).tolist()
    expected = best([draw] * IMAGES, COUNT)
    assert torch.equal(elected(model, many, "random:seed=3").kept, expected)


OPTIONS = [
    ("received-attention", "received-attention:layers=first"),
    ("received-attention", "received-attention:layers=all"),
    ("received-attention", "l2-norm"),
    ("received-attention", "random"),
    ("l2-norm", "distinct"),
    ("first", "stride"),
]


@pytest.mark.parametrize(("one", "other"), OPTIONS, ids=str)
def test_other_scorers_and_options_can_keep_other_image_tokens(opt, one, other):
    many = prompts("opt", images=(1,) * 6, pads=(0,) * 6)
    assert not torch.equal(elected(opt, many, one).kept, elected(opt, many, other).kept)


@pytest.mark.parametrize("aggregator", ["borda", "max", "plurality", "copeland"])
def test_every_voting_rule_can_keep_other_image_tokens(opt, aggregator):
    many = prompts("opt", images=(1,) * 6, pads=(0,) * 6)
    other = elected(opt, many, "received-attention", aggregator=aggregator)
    assert not torch.equal(elected(opt, many, "received-attention").kept, other.kept)


POINTS = {
    "received-attention": of_layers(received, 1),
    "received-attention:layers=all": of_layers(received, 0, 1),
    "self-attention": of_layers(received, 0, 1),
    "l2-norm": norms,
}
"""Scorer -> the points that it gives in front of a cut behind the second layer."""


@only("instructblip-llama")
def test_scores_of_an_encoder_before_a_q_former_that_reads_a_question(either, laid):
    for scorer, hand in POINTS.items():
        assert agrees(elected(either, laid, scorer), points(either, laid, hand)), scorer
