"""InstructBLIP: the question can change what is kept; batch-mates and padding cannot."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_instructblip import QUESTION_PAD, prompts

from .calls import answer, generate, logits
from .image_oracle import by_hand, queries
from .keeping import QUERY_SCORERS
from .oracle import hand_fed, oracle_logits

ONE_EACH = (1, 1, 1)
PADS = (0, 3, 1)
BLIND = {"first", "random", "stride"}
"""Scorers that look at nothing."""


def row_of(inputs, row):
    """One row alone, its question without any padding."""
    alone = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
    real = alone["qformer_attention_mask"].bool()
    return {**alone, **{name: alone[name][real][None] for name in alone if name.startswith("qformer")}}


def padded(inputs, count, side):
    """The same questions with `count` more padding tokens, which carry the id of a word."""
    rows, word = len(inputs["qformer_input_ids"]), 50
    ids, mask = torch.full((rows, count), word), torch.zeros(rows, count, dtype=torch.long)
    order = (lambda more, given: [more, given]) if side == "left" else (lambda more, given: [given, more])
    return {
        **inputs,
        "qformer_input_ids": torch.cat(order(ids, inputs["qformer_input_ids"]), dim=1),
        "qformer_attention_mask": torch.cat(order(mask, inputs["qformer_attention_mask"]), dim=1),
    }


@pytest.mark.parametrize("scorer", sorted(set(QUERY_SCORERS) - BLIND))
def test_another_question_about_the_same_image_can_keep_other_tokens(instructblip, instructed, scorer):
    one = prompts(instructed, images=(1,) * 6, pads=(0,) * 6)
    other = {**one, "qformer_input_ids": one["qformer_input_ids"].roll(1, dims=0)}
    with tokprune.apply(instructblip, scorer=scorer, keep=3) as handle:
        logits(instructblip, one)
        kept = handle.report.kept
        logits(instructblip, other)
        assert not torch.equal(handle.report.kept, kept)


def test_what_only_the_language_model_reads_changes_nothing(instructblip, asked):
    other = {**asked, "input_ids": asked["input_ids"].clone()}
    other["input_ids"][:, -1] = 50
    with tokprune.apply(instructblip, scorer="self-attention", keep=3) as handle:
        logits(instructblip, asked)
        scores = handle.report.scores
        logits(instructblip, other)
        assert torch.equal(handle.report.scores, scores)


@pytest.mark.parametrize("aggregator", [None, *tokprune.list_aggregators()])
@pytest.mark.parametrize("scorer", ["self-attention", "catp-vote", "focus"])
def test_what_is_kept_does_not_depend_on_batch_mates(instructblip, instructed, scorer, aggregator):
    inputs = prompts(instructed, images=ONE_EACH, pads=PADS)
    with tokprune.apply(instructblip, scorer=scorer, keep=3, aggregator=aggregator) as handle:
        together = logits(instructblip, inputs)
        kept, scores = handle.report.kept, handle.report.scores
        for row in range(3):
            alone = logits(instructblip, row_of(inputs, row))
            assert torch.equal(handle.report.kept[0], kept[row])
            assert torch.allclose(handle.report.scores[0], scores[row], rtol=1e-3, atol=1e-3)
            assert torch.allclose(alone[0, -3:], together[row, -3:], atol=2e-4)


def test_generated_tokens_do_not_depend_on_batch_mates(instructblip, instructed):
    inputs = prompts(instructed, images=ONE_EACH, pads=PADS)
    with tokprune.apply(instructblip, scorer="self-attention", keep=3):
        together = answer(instructblip, inputs, generate(instructblip, inputs))
        for row in range(3):
            mine = row_of(inputs, row)
            own = answer(instructblip, mine, generate(instructblip, mine))[0]
            assert together[row, : len(own)].equal(own)


@pytest.mark.parametrize("aggregator", ["sum", "borda", "mean", "max", "plurality", "copeland"])
@pytest.mark.parametrize("count", [1, 7])
def test_more_padding_of_the_question_changes_nothing(instructblip, asked, aggregator, count):
    more = padded(asked, count, "right")
    with tokprune.apply(instructblip, scorer="self-attention", keep=3, aggregator=aggregator) as handle:
        expected = logits(instructblip, asked)
        kept, scores = handle.report.kept, handle.report.scores
        assert torch.allclose(logits(instructblip, more), expected, atol=2e-4)
        assert torch.equal(handle.report.kept, kept)
        assert torch.allclose(handle.report.scores, scores, rtol=1e-4)


def test_the_same_tokens_that_are_no_padding_do_change_it(instructblip, asked):
    more = padded(asked, 7, "right")
    more["qformer_attention_mask"] = torch.ones_like(more["qformer_attention_mask"])
    with tokprune.apply(instructblip, scorer="self-attention", keep=3, aggregator="borda") as handle:
        logits(instructblip, asked)
        scores = handle.report.scores
        logits(instructblip, more)
        assert not torch.allclose(handle.report.scores, scores, rtol=1e-2)


def test_what_stands_in_the_padding_does_not_matter(instructblip, asked):
    assert (asked["qformer_input_ids"][1, -3:] == QUESTION_PAD).all()
    other = {**asked, "qformer_input_ids": asked["qformer_input_ids"].clone()}
    other["qformer_input_ids"][1, -3:] = torch.tensor([40, 41, 42])
    for aggregator in ("sum", "borda", "max"):
        with tokprune.apply(instructblip, scorer="self-attention", keep=3, aggregator=aggregator) as handle:
            expected, kept = logits(instructblip, asked), handle.report.kept
            assert torch.allclose(logits(instructblip, other), expected, atol=1e-5)
            assert torch.equal(handle.report.kept, kept)


def test_rows_in_another_order_give_results_in_that_order(instructblip, instructed):
    inputs, order = prompts(instructed, images=ONE_EACH, pads=PADS), [2, 0, 1]
    shuffled = {name: tensor[order] for name, tensor in inputs.items()}
    with tokprune.apply(instructblip, scorer="self-attention", keep=3) as handle:
        expected, kept = logits(instructblip, inputs), handle.report.kept
        assert torch.allclose(logits(instructblip, shuffled), expected[order], atol=2e-4)
        assert torch.equal(handle.report.kept, kept[order])


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
    with tokprune.apply(instructblip, [image, query]) as handles:
        found = logits(instructblip, asked)
        reports = handles.reports
    assert (reports["image"].length_after, reports["query"].length_after) == (5, 9)
    states = by_hand(instructblip, asked, {2: 4})[0].states
    with torch.no_grad():
        fed = hand_fed(instructblip, asked, reports["query"].kept, vectors=queries(instructblip, asked, states))
    assert torch.equal(found, oracle_logits(instructblip, asked, fed))
