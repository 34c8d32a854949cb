"""InstructBLIP for videos: frames are images, in the order of the videos, and read one question."""

import pytest
import torch

import tokprune
from tokprune import UnsupportedCallError
from tokprune.testing.tiny_blip2 import BOS, IMAGE, QUERIES
from tokprune.testing.tiny_instructblip import tiny_instructblip
from tokprune.testing.tiny_instructblipvideo import FRAMES, prompts, tiny_instructblipvideo

from .calls import answer, forward, generate, logits
from .keeping import keeping
from .oracle import hand_fed, oracle_answer, oracle_logits, oracle_loss, question, some_kept
from .prompts import as_embeddings
from .traces import traces


@pytest.fixture(scope="module")
def built():
    model = tiny_instructblipvideo()
    generate(model, prompts())
    return model


@pytest.fixture
def model(built):
    before = traces(built)
    yield built
    assert traces(built) == before


def as_images(inputs):
    """The same frames as images of an InstructBLIP, each with the question of its video."""
    frames = inputs["pixel_values"].shape[1]
    asked = {name: value.repeat_interleave(frames, dim=0) for name, value in question(inputs).items()}
    return {**inputs, **asked, "pixel_values": inputs["pixel_values"].flatten(0, 1)}


@pytest.mark.parametrize("scorer", ["catp-vote", "catp-weighted", "self-attention", "l2-norm"])
def test_frames_are_scored_as_the_images_of_an_instructblip_with_the_same_weights(model, scorer):
    twin = tiny_instructblip()
    assert not twin.load_state_dict(model.state_dict()).missing_keys
    with tokprune.apply(model, scorer=scorer, keep=3) as video:
        found = logits(model, prompts())
    with tokprune.apply(twin, scorer=scorer, keep=3) as images:
        expected = logits(twin, as_images(prompts()))
    assert torch.equal(video.report.kept, images.report.kept)
    assert torch.equal(video.report.scores, images.report.scores)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("frames", [1, 3])
def test_any_number_of_frames_is_cut_frame_by_frame(model, frames):
    inputs, kept = prompts(frames=frames), some_kept(2 * frames, 3)
    with tokprune.apply(model, **keeping(kept)) as handle:
        assert torch.equal(logits(model, inputs), oracle_logits(model, inputs, hand_fed(model, inputs, kept)))
    assert handle.report.kept.shape == (2 * frames, QUERIES)
    assert handle.report.length_before - handle.report.length_after == frames * (QUERIES - 3)


def test_frames_may_keep_different_numbers_of_tokens(model):
    inputs, kept = prompts(), torch.cat([some_kept(1, count) for count in (1, 5, 2, 8)])
    fed = hand_fed(model, inputs, kept)
    with tokprune.apply(model, **keeping(kept)):
        assert torch.equal(answer(model, inputs, generate(model, inputs)), oracle_answer(model, fed))


def test_without_a_prompt_the_model_makes_its_own_for_four_frames(model):
    inputs = prompts(frames=4)
    alone = {name: inputs[name] for name in ("pixel_values", "qformer_input_ids", "qformer_attention_mask")}
    ids = torch.tensor([[IMAGE] * QUERIES * 4 + [BOS]] * 2)
    kept = some_kept(8, 3)
    built = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with tokprune.apply(model, **keeping(kept)):
        assert torch.equal(generate(model, alone), generate(model, built))


def test_without_a_prompt_other_numbers_of_frames_are_refused(model):
    inputs = prompts(frames=8)
    alone = {name: inputs[name] for name in ("pixel_values", "qformer_input_ids", "qformer_attention_mask")}
    with tokprune.apply(model, keep=3), pytest.raises(UnsupportedCallError, match=r"4, 4.* but 16 images"):
        generate(model, alone)


def test_a_prompt_with_too_few_places_for_its_frames_is_refused_before_anything_runs(model):
    inputs = {**prompts(), "pixel_values": prompts(frames=3)["pixel_values"]}
    with tokprune.apply(model, keep=3), pytest.raises(UnsupportedCallError, match="but 6 images came"):
        logits(model, inputs)


def test_the_prompt_may_be_embeddings(model):
    with tokprune.apply(model, keep=3):
        expected = logits(model, prompts())
        assert torch.equal(logits(model, as_embeddings(model, prompts())), expected)


def test_the_loss_is_that_of_the_shorter_sequence(model):
    inputs, kept = prompts(), some_kept(2 * FRAMES, 3)
    labels = inputs["input_ids"].masked_fill(inputs["input_ids"] < 10, -100)
    with tokprune.apply(model, **keeping(kept)):
        found = forward(model, inputs, labels=labels).loss
    assert torch.allclose(found, oracle_loss(model, inputs, kept, labels), atol=1e-6)
