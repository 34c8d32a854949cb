"""keep=k is bitwise the language model fed the k kept tokens by hand."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import MODES, answer, generate, logits
from .keeping import keeping
from .oracle import catp_kept, hand_fed, oracle_answer, oracle_logits, some_kept
from .prompts import BATCHES


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("count", [1, 3, 7])
def test_logits_are_those_of_the_kept_tokens_fed_by_hand(model, kind, batch, count):
    inputs = prompts(kind, **BATCHES[batch])
    kept = catp_kept(model, inputs, count)
    expected = oracle_logits(model, inputs, hand_fed(model, inputs, kept))
    with tokprune.apply(model, scorer="catp-vote", keep=count) as handle:
        assert torch.equal(logits(model, inputs), expected)
    assert torch.equal(handle.report.kept, kept)


@pytest.mark.parametrize("batch", ["padded rows", "words before images", "a row without image"])
@pytest.mark.parametrize("mode", MODES)
def test_generated_tokens_are_those_of_the_kept_tokens_fed_by_hand(model, kind, batch, mode):
    inputs = prompts(kind, **BATCHES[batch])
    kept = some_kept(len(inputs["pixel_values"]), 3)
    expected = oracle_answer(model, hand_fed(model, inputs, kept), **MODES[mode])
    with tokprune.apply(model, **keeping(kept)):
        output = generate(model, inputs, **MODES[mode])
    assert torch.equal(answer(model, inputs, output), expected)


def test_fewer_tokens_really_give_other_logits_and_other_answers(model, inputs):
    before = logits(model, inputs)[:, -1], generate(model, inputs)
    with tokprune.apply(model, keep=1):
        assert (logits(model, inputs)[:, -1] - before[0]).abs().max() > 0.1
        assert not torch.equal(generate(model, inputs), before[1])


@pytest.mark.parametrize("seed", range(5))
def test_any_kept_set_is_fed_in_its_original_order(model, inputs, seed):
    kept = some_kept(2, 1 + seed, seed)
    expected = oracle_logits(model, inputs, hand_fed(model, inputs, kept))
    with tokprune.apply(model, **keeping(kept)):
        assert torch.equal(logits(model, inputs), expected)


def test_the_report_says_what_happened(model, inputs):
    with tokprune.apply(model, keep=0.25) as handle:
        assert handle.report is None
        logits(model, inputs)
    report = handle.report
    assert report.counts.tolist() == [2, 2]
    assert (report.length_before, report.length_after) == (14, 8)
    assert report.scores.shape == report.kept.shape == (2, 8)


def test_a_mask_that_is_not_given_counts_as_all_ones(model, kind):
    inputs = prompts(kind, images=(1, 1), pads=(0, 0))
    with tokprune.apply(model, keep=3):
        expected = logits(model, inputs), generate(model, inputs)
        ids_only = {name: value for name, value in inputs.items() if name != "attention_mask"}
        assert torch.equal(generate(model, ids_only), expected[1])
        with torch.no_grad():
            extra = {"decoder_input_ids": torch.tensor([[0, 2, 12, 13]] * 2)} if kind == "t5" else {}
            assert torch.equal(model(**ids_only, **extra).logits, expected[0])


def test_arguments_may_be_positional(opt):
    inputs = prompts("opt")
    with tokprune.apply(opt, keep=3), torch.no_grad():
        expected = opt(**inputs).logits
        assert torch.equal(opt(*inputs.values()).logits, expected)
        assert torch.equal(opt.generate(*inputs.values(), max_new_tokens=3), opt.generate(**inputs, max_new_tokens=3))
