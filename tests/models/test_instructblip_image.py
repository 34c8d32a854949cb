"""InstructBLIP, target "image": the encoder run by hand, from which all but k image tokens are taken away."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_instructblip import prompts

from .calls import MODES, answer, generate, logits
from .image_oracle import TOKENS, answer_by_hand, by_hand, first, logits_by_hand, norms, of_layers, received, steps
from .oracle import best, oracle_logits
from .prompts import BATCHES

PLACES = {"1": {1: 4}, "2": {2: 4}, "3": {3: 4}, "(1, 3)": {1: 10, 3: 4}, "every": {1: 12, 2: 8, 3: 4}}
"""Where the encoder is cut, and how many of 16 tokens are left there."""


@pytest.mark.parametrize("after", PLACES)
def test_logits_are_those_of_the_encoder_run_by_hand(instructblip, asked, after):
    encoded, fed = by_hand(instructblip, asked, PLACES[after])
    with tokprune.apply(instructblip, scorer="received-attention", target="image", **steps(PLACES[after])) as handle:
        assert torch.equal(logits(instructblip, asked), oracle_logits(instructblip, asked, fed))
    assert torch.equal(handle.report.kept, encoded.kept)
    assert (handle.report.length_before, handle.report.length_after) == (17, 5)


@pytest.mark.parametrize("batch", BATCHES)
def test_every_batch_gets_the_logits_by_hand(instructblip, instructed, batch):
    inputs = prompts(instructed, **BATCHES[batch])
    expected = logits_by_hand(instructblip, inputs, {2: 3})
    with tokprune.apply(instructblip, scorer="received-attention", target="image", after=2, keep=3):
        assert torch.equal(logits(instructblip, inputs), expected)


@pytest.mark.parametrize("mode", ["greedy", "beams", "sampling", "static cache"])
def test_generated_tokens_are_those_of_the_encoder_run_by_hand(instructblip, asked, mode):
    expected = answer_by_hand(instructblip, asked, {1: 10, 3: 4}, MODES[mode])
    with tokprune.apply(instructblip, scorer="received-attention", target="image", after=(1, 3), keep=4):
        output = generate(instructblip, asked, **MODES[mode])
    assert torch.equal(answer(instructblip, asked, output), expected)


POINTS = {
    "received-attention": of_layers(received, 1),
    "received-attention:layers=all": of_layers(received, 0, 1),
    "self-attention": of_layers(received, 0, 1),
    "l2-norm": norms,
    "first": first,
}
"""Scorer -> the points that it gives in front of a cut behind the second layer."""


@pytest.mark.parametrize("scorer", POINTS)
def test_scores_are_those_worked_out_by_hand(instructblip, asked, scorer):
    encoded, _ = by_hand(instructblip, asked, {2: 5}, POINTS[scorer])
    with tokprune.apply(instructblip, scorer=scorer, target="image", after=2, keep=5) as handle:
        logits(instructblip, asked)
    assert torch.equal(handle.report.kept, encoded.kept)
    if scorer != "first":
        assert torch.allclose(handle.report.scores, encoded.scores, rtol=1e-4)
        assert torch.equal(handle.report.kept, best(encoded.scores.tolist(), 5))


def test_keeping_all_image_tokens_changes_no_bit(instructblip, asked):
    before = logits(instructblip, asked), generate(instructblip, asked)
    options = {"scorer": "received-attention", "target": "image", "after": "every"}
    with tokprune.apply(instructblip, keep=1.0, **options) as handle:
        assert torch.equal(logits(instructblip, asked), before[0])
        assert torch.equal(generate(instructblip, asked), before[1])
    assert handle.report.kept.shape == (2, TOKENS)


def test_fewer_image_tokens_really_give_other_logits_and_other_answers(instructblip, asked):
    before = logits(instructblip, asked)[:, -1], generate(instructblip, asked)
    with tokprune.apply(instructblip, scorer="received-attention", keep=1, target="image"):
        assert (logits(instructblip, asked)[:, -1] - before[0]).abs().max() > 0.1
        assert not torch.equal(generate(instructblip, asked), before[1])


def test_merged_image_tokens_are_those_merged_by_hand(instructblip, asked):
    expected = logits_by_hand(instructblip, asked, {2: 5}, merge=True)
    options = {"scorer": "received-attention", "reduction": "merge", "target": "image", "after": 2}
    with tokprune.apply(instructblip, keep=5, **options):
        assert torch.allclose(logits(instructblip, asked), expected, atol=1e-4)


def test_the_question_does_not_change_which_image_tokens_are_kept(instructblip, asked):
    other = {**asked, "qformer_input_ids": asked["qformer_input_ids"].flip(0)}
    with tokprune.apply(instructblip, scorer="received-attention", keep=4, target="image") as handle:
        logits(instructblip, asked)
        kept = handle.report.kept
        logits(instructblip, other)
        assert torch.equal(handle.report.kept, kept)


def test_both_targets_act_together(instructblip, asked):
    image = tokprune.Policy(scorer="received-attention", target="image", keep=4, after=2)
    query = tokprune.Policy(scorer="self-attention", target="query", keep=3)
    before = logits(instructblip, asked)
    with tokprune.apply(instructblip, [image, query]) as handles:
        found = logits(instructblip, asked)
        reports = handles.reports
    assert (reports["image"].length_after, reports["query"].length_after) == (5, 9)
    assert found.shape[1] != before.shape[1] or instructblip.config.text_config.is_encoder_decoder
