"""InstructBLIP: scores and choices worked out from the model's own attention, with questions of different length."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import QUERIES, TEXT, with_attention
from tokprune.testing.tiny_instructblip import prompts

from .calls import decoder, logits
from .instructblip_oracle import LAYERS, ballots, outputs, ranked, received, self_attention, voters
from .oracle import best, borda_points, cross_attention

IMAGES = 6
SIDES = ["left", "right"]


@pytest.fixture
def instructed():
    """One is enough: the Q-Former does not know which language model comes later."""
    return "llama"


@pytest.fixture(params=SIDES)
def many(request, instructed):
    """Six rows with one image each, and questions of different length, padded on either side."""
    return prompts(
        instructed, images=(1,) * IMAGES, pads=(0, 1, 2) * 2, question_pads=(0, 3, 1) * 2, side=request.param
    )


def whole(model, inputs):
    """Inputs that a forward can run on."""
    return {**inputs, **decoder(model, inputs)}


def elected(model, inputs, scorer, **options):
    with tokprune.apply(model, scorer=scorer, keep=3, **options) as handle:
        logits(model, inputs)
    return handle.report


def agrees(report, points):
    points = torch.as_tensor(points, dtype=torch.float32)
    return torch.allclose(report.scores, points, rtol=1e-4) and torch.equal(report.kept, best(points.tolist(), 3))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_votes_are_the_attention_that_transformers_computes_itself(instructblip, many, attention):
    model = with_attention(instructblip, attention)
    layers = tokprune.observe(model, whole(model, many), ("self_attention",)).self_attention
    assert len(layers) == LAYERS
    text_first = [*range(QUERIES, QUERIES + TEXT), *range(QUERIES)]
    for layer, attention in zip(layers, self_attention(instructblip, many), strict=True):
        assert layer.shape == (IMAGES, 4 * (QUERIES + TEXT), QUERIES)
        assert layer.protected == TEXT
        for image in range(IMAGES):
            real = voters(many, image)
            for row, place in enumerate(text_first):
                expected = attention[image, :, place, :QUERIES] if place in real else torch.zeros(4, QUERIES)
                assert torch.allclose(layer.by_head[image, :, row], expected, atol=1e-5)


def test_padding_of_the_question_gets_no_probability_and_has_no_vote(instructblip, many):
    for layer in tokprune.observe(instructblip, whole(instructblip, many), ("self_attention",)).self_attention:
        padding = many["qformer_attention_mask"] == 0
        assert padding.any()
        attention = layer.attention
        for image, row in enumerate(padding.tolist()):
            for place, is_padding in enumerate(row):
                assert bool((attention[image, :, place] == 0).all()) == is_padding
                assert bool((attention[image, :, :, place] == 0).all()) == is_padding
                weights = layer.weights.view(IMAGES, 4, -1)[image, :, place]
                assert (weights == (0.0 if is_padding else 1.0)).all()


@pytest.mark.parametrize(
    ("scorer", "layers"),
    [("self-attention", [0, 1, 2, 3]), ("self-attention:layers=first", [0]), ("self-attention:layers=last", [3])],
)
def test_self_attention_sums_what_query_tokens_receive_from_each_other_and_from_the_question(
    instructblip, many, scorer, layers
):
    assert agrees(elected(instructblip, many, scorer), received(instructblip, many, layers))


def test_borda_ranks_query_tokens_among_themselves(instructblip, many):
    report = elected(instructblip, many, "self-attention", aggregator="borda")
    assert agrees(report, ranked(instructblip, many))
    pairs = QUERIES * (QUERIES - 1) / 2
    assert report.scores.sum(dim=1).tolist() == [LAYERS * 4 * len(voters(many, i)) * pairs for i in range(IMAGES)]


def test_the_mean_counts_only_real_voters(instructblip, many):
    count = torch.tensor([[LAYERS * 4 * len(voters(many, image))] for image in range(IMAGES)])
    report = elected(instructblip, many, "self-attention", aggregator="mean")
    assert agrees(report, received(instructblip, many) / count)


def test_the_highest_vote_is_a_real_voters(instructblip, many):
    cast = ballots(instructblip, many)
    highest = torch.stack(
        [torch.stack([layer[image].amax(dim=(0, 1)) for layer in cast]).amax(0) for image in range(IMAGES)]
    )
    assert agrees(elected(instructblip, many, "self-attention", aggregator="max"), highest)


def test_plurality_counts_the_favourites_of_real_voters(instructblip, many):
    points = torch.zeros(IMAGES, QUERIES)
    for layer in ballots(instructblip, many):
        for image, cast in enumerate(layer):
            for favourite in cast.argmax(dim=-1).flatten().tolist():
                points[image, favourite] += 1
    assert agrees(elected(instructblip, many, "self-attention", aggregator="plurality"), points)


def test_the_questions_voters_can_change_what_is_kept(instructblip, many):
    alone = torch.stack(
        [layer[:, :, :QUERIES, :QUERIES].sum(dim=(1, 2)) for layer in self_attention(instructblip, many)]
    )
    kept = elected(instructblip, many, "self-attention").kept
    assert not torch.equal(kept, best(alone.sum(dim=0).tolist(), 3))


def test_only_query_tokens_look_at_the_image(instructblip, many):
    maps = cross_attention(instructblip, many)
    assert agrees(elected(instructblip, many, "catp-vote"), borda_points(maps))
    for votes in tokprune.observe(instructblip, whole(instructblip, many), ("cross_attention",)).cross_attention:
        assert votes.shape == (IMAGES, 4 * 17, QUERIES)
        assert votes.weights is None


def test_tokens_are_the_query_tokens_as_they_leave_the_q_former(instructblip, many):
    found = tokprune.observe(instructblip, whole(instructblip, many), ("tokens",)).tokens
    assert torch.equal(found, outputs(instructblip, many))


def test_the_text_is_the_language_models_prompt(instructblip, many):
    text = tokprune.observe(instructblip, whole(instructblip, many), ("text",)).text
    assert torch.equal(text.mask, (many["attention_mask"] == 1) & (many["input_ids"] != 5))
    places = text.mask.nonzero()
    words = instructblip.get_input_embeddings()(many["input_ids"])
    assert torch.equal(text.embeddings[places[:, 0], places[:, 1]], words[places[:, 0], places[:, 1]])
