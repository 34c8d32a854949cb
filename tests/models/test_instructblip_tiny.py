"""The tiny InstructBLIP is fit for tests: the question matters, and its padding does not."""

import torch

from tokprune.testing.tiny_blip2 import QUERIES
from tokprune.testing.tiny_instructblip import prompts

from .calls import logits
from .instructblip_oracle import self_attention
from .oracle import catp_kept, cross_attention, features, hand_fed, oracle_logits, some_kept


def test_the_q_former_attends_to_the_question_but_not_to_its_padding(instructblip, asked):
    for layer in self_attention(instructblip, asked):
        assert layer.shape == (2, 4, QUERIES + 6, QUERIES + 6)
        assert (layer[1, ..., -3:] == 0).all()
        assert layer[1, :, :QUERIES, QUERIES:-3].sum(dim=-1).mean() > 0.05
    for layer in cross_attention(instructblip, asked):
        assert layer.shape == (2, 4, QUERIES, 17)


def test_different_images_keep_different_tokens(instructblip, instructed):
    kept = catp_kept(instructblip, prompts(instructed, images=(1,) * 6, pads=(0,) * 6), 3)
    assert len({tuple(row.tolist()) for row in kept}) > 3


def test_the_question_reaches_the_query_tokens(instructblip, asked):
    other = {**asked, "qformer_input_ids": asked["qformer_input_ids"].flip(0)}
    other["qformer_attention_mask"] = asked["qformer_attention_mask"].flip(0)
    assert (features(instructblip, other) - features(instructblip, asked)).abs().max() > 0.1


def test_the_oracle_with_all_tokens_is_the_model_itself(instructblip, asked):
    fed = hand_fed(instructblip, asked, torch.ones(2, QUERIES, dtype=torch.bool))
    assert torch.equal(oracle_logits(instructblip, asked, fed), logits(instructblip, asked))


def test_answers_depend_on_which_tokens_are_kept(instructblip, asked):
    one, other = (hand_fed(instructblip, asked, some_kept(2, 3, seed)) for seed in (1, 2))
    found = oracle_logits(instructblip, asked, one) - oracle_logits(instructblip, asked, other)
    assert found.abs().max() > 0.1
