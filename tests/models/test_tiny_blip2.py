"""The tiny models are fit for tests: choices differ, and the language model listens."""

import pytest
import torch

from tokprune.testing.tiny_blip2 import QUERIES, prompts, tiny_blip2
from tokprune.testing.tiny_instructblip import tiny_instructblip

from .calls import logits
from .oracle import catp_kept, cross_attention, hand_fed, oracle_logits, some_kept
from .prompts import BATCHES
from .traces import same_weights


def test_attention_is_far_from_uniform_and_has_no_ties(model, inputs):
    for layer in cross_attention(model, inputs):
        assert layer.shape == (2, 4, QUERIES, 17)
        ordered = layer.transpose(2, 3).sort(dim=-1).values
        assert (ordered[..., -1] / ordered[..., 0]).median() > 10
        assert (ordered.diff(dim=-1) > 0).all()


def test_different_images_keep_different_tokens(model, kind):
    kept = catp_kept(model, prompts(kind, images=(1,) * 6, pads=(0,) * 6), 3)
    assert len({tuple(row.tolist()) for row in kept}) > 3


def test_answers_depend_on_which_tokens_are_kept(model, inputs):
    one, other = (hand_fed(model, inputs, some_kept(2, 3, seed)) for seed in (1, 2))
    assert (oracle_logits(model, inputs, one) - oracle_logits(model, inputs, other)).abs().max() > 0.1


@pytest.mark.parametrize("batch", BATCHES)
def test_the_oracle_with_all_tokens_is_the_model_itself(model, kind, batch):
    inputs = prompts(kind, **BATCHES[batch])
    everything = torch.ones(inputs["pixel_values"].shape[0], QUERIES, dtype=torch.bool)
    fed = hand_fed(model, inputs, everything)
    assert torch.equal(oracle_logits(model, inputs, fed), logits(model, inputs))


def test_what_comes_before_the_language_model_is_the_same_whichever_it_is():
    for build, kinds in ((tiny_blip2, ("opt", "t5")), (tiny_instructblip, ("llama", "t5"))):
        one, other = (build(kind) for kind in kinds)
        for part in ("vision_model", "qformer"):
            assert same_weights(getattr(one, part).state_dict(), getattr(other, part).state_dict())
        assert torch.equal(one.query_tokens, other.query_tokens)
