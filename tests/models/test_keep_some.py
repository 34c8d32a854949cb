"""keep=k is bitwise the language model fed the k kept tokens by hand."""

import pytest
import torch

import tokprune

from .calls import MODES, answer, decoder, generate, logits
from .keeping import keeping
from .oracle import best, borda_points, cross_attention, hand_fed, oracle_answer, oracle_logits, some_kept
from .prompts import BATCHES, padded_on_each_side


@pytest.mark.parametrize("batch", BATCHES)
def test_logits_are_those_of_the_kept_tokens_fed_by_hand(either, lay, batch):
    for inputs in padded_on_each_side(lay, **BATCHES[batch]):
        points = borda_points(cross_attention(either, inputs))
        for count in (1, 3, 7):
            kept = best(points, count)
            expected = oracle_logits(either, inputs, hand_fed(either, inputs, kept))
            with tokprune.apply(either, scorer="catp-vote", keep=count) as handle:
                assert torch.equal(logits(either, inputs), expected)
            assert torch.equal(handle.report.kept, kept)


@pytest.mark.parametrize("batch", ["padded rows", "words before images", "a row without image"])
@pytest.mark.parametrize("mode", MODES)
def test_generated_tokens_are_those_of_the_kept_tokens_fed_by_hand(either, lay, batch, mode):
    inputs = lay(**BATCHES[batch])
    kept = some_kept(len(inputs["pixel_values"]), 3)
    expected = oracle_answer(either, hand_fed(either, inputs, kept), **MODES[mode])
    with tokprune.apply(either, **keeping(kept)):
        output = generate(either, inputs, **MODES[mode])
    assert torch.equal(answer(either, inputs, output), expected)


def test_fewer_tokens_really_give_other_logits_and_other_answers(either, laid):
    before = logits(either, laid)[:, -1], generate(either, laid)
    with tokprune.apply(either, keep=1):
        assert (logits(either, laid)[:, -1] - before[0]).abs().max() > 0.1
        assert not torch.equal(generate(either, laid), before[1])


@pytest.mark.parametrize("seed", range(5))
def test_any_kept_set_is_fed_in_its_original_order(either, laid, seed):
    kept = some_kept(2, 1 + seed, seed)
    expected = oracle_logits(either, laid, hand_fed(either, laid, kept))
    with tokprune.apply(either, **keeping(kept)):
        assert torch.equal(logits(either, laid), expected)


def test_the_report_says_what_happened(either, laid):
    with tokprune.apply(either, keep=0.25) as handle:
        assert handle.report is None
        logits(either, laid)
    report = handle.report
    assert report.counts.tolist() == [2, 2]
    assert (report.length_before, report.length_after) == (14, 8)
    assert report.scores.shape == report.kept.shape == (2, 8)


def test_masks_that_are_not_given_count_as_all_ones(either, lay):
    inputs = lay(pads=(0, 0))
    without = {name: value for name, value in inputs.items() if "attention_mask" not in name}
    for scorer in ("catp-vote", "self-attention"):
        with tokprune.apply(either, scorer=scorer, keep=3):
            expected = logits(either, inputs), generate(either, inputs)
            assert torch.equal(generate(either, without), expected[1])
            assert torch.equal(logits(either, {**without, **decoder(either, inputs)}), expected[0])


def test_arguments_may_be_positional(either, laid):
    whole = {**laid, **decoder(either, laid)}
    generates = "decoder_input_ids" not in whole  # where it has another place
    with tokprune.apply(either, scorer="self-attention", keep=3), torch.no_grad():
        assert torch.equal(either(*whole.values()).logits, either(**whole).logits)
        if generates:
            expected = either.generate(**laid, max_new_tokens=3)
            assert torch.equal(either.generate(*laid.values(), max_new_tokens=3), expected)
