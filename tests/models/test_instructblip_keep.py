"""InstructBLIP, target "query": keep=1.0 is the model itself, keep=k the language model fed the k tokens by hand."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_instructblip import prompts

from .calls import MODES, answer, decoder, forward, generate, logits
from .keeping import QUERY_SCORERS, keeping
from .oracle import catp_kept, features, hand_fed, oracle_answer, oracle_logits, some_kept
from .prompts import BATCHES, as_embeddings
from .traces import hook_count, same_weights, traces, weights


@pytest.mark.parametrize("batch", BATCHES)
def test_keeping_all_tokens_changes_no_bit_of_the_logits(instructblip, instructed, batch):
    inputs = prompts(instructed, **BATCHES[batch])
    before = logits(instructblip, inputs)
    with tokprune.apply(instructblip, scorer="self-attention", keep=1.0) as handle:
        assert torch.equal(logits(instructblip, inputs), before)
    assert handle.report.kept.all()


@pytest.mark.parametrize("mode", MODES)
def test_keeping_all_tokens_changes_no_generated_token(instructblip, asked, mode):
    before = generate(instructblip, asked, **MODES[mode])
    with tokprune.apply(instructblip, keep=1.0):
        assert torch.equal(generate(instructblip, asked, **MODES[mode]), before)


@pytest.mark.parametrize("scorer", QUERY_SCORERS)
@pytest.mark.parametrize("positions", ["compact", "preserve"])
def test_keeping_all_tokens_changes_nothing_under_any_scorer(instructblip, asked, scorer, positions):
    before = logits(instructblip, asked)
    with tokprune.apply(instructblip, scorer=scorer, keep=8, positions=positions):
        assert torch.equal(logits(instructblip, asked), before)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch", BATCHES)
def test_logits_are_those_of_the_kept_tokens_fed_by_hand(instructblip, instructed, batch, side):
    inputs = prompts(instructed, **BATCHES[batch], side=side)
    kept = catp_kept(instructblip, inputs, 3)
    expected = oracle_logits(instructblip, inputs, hand_fed(instructblip, inputs, kept))
    with tokprune.apply(instructblip, scorer="catp-vote", keep=3) as handle:
        assert torch.equal(logits(instructblip, inputs), expected)
    assert torch.equal(handle.report.kept, kept)


@pytest.mark.parametrize("batch", ["padded rows", "words before images", "a row without image"])
@pytest.mark.parametrize("mode", MODES)
def test_generated_tokens_are_those_of_the_kept_tokens_fed_by_hand(instructblip, instructed, batch, mode):
    inputs = prompts(instructed, **BATCHES[batch])
    kept = some_kept(len(inputs["pixel_values"]), 3)
    expected = oracle_answer(instructblip, hand_fed(instructblip, inputs, kept), **MODES[mode])
    with tokprune.apply(instructblip, **keeping(kept)):
        output = generate(instructblip, inputs, **MODES[mode])
    assert torch.equal(answer(instructblip, inputs, output), expected)


def test_fewer_tokens_really_give_other_logits_and_other_answers(instructblip, asked):
    before = logits(instructblip, asked)[:, -1], generate(instructblip, asked)
    with tokprune.apply(instructblip, keep=1):
        assert (logits(instructblip, asked)[:, -1] - before[0]).abs().max() > 0.1
        assert not torch.equal(generate(instructblip, asked), before[1])


@pytest.mark.parametrize("counts", [[2, 5], [8, 1]])
def test_rows_may_keep_different_numbers_of_tokens(instructblip, asked, counts):
    kept = torch.cat([some_kept(1, each, seed) for seed, each in enumerate(counts)])
    fed = hand_fed(instructblip, asked, kept)
    with tokprune.apply(instructblip, **keeping(kept)):
        found = logits(instructblip, asked)
        output = answer(instructblip, asked, generate(instructblip, asked))
    assert torch.equal(found, oracle_logits(instructblip, asked, fed))
    assert torch.equal(output, oracle_answer(instructblip, fed))


def test_preserved_positions_are_those_of_the_unpruned_prompt(instructblip, asked):
    kept = some_kept(2, 3)
    fed = hand_fed(instructblip, asked, kept, positions="preserve")
    with tokprune.apply(instructblip, **keeping(kept, positions="preserve")):
        output = answer(instructblip, asked, generate(instructblip, asked))
    with tokprune.apply(instructblip, **keeping(kept)):
        compact = logits(instructblip, asked)
    with tokprune.apply(instructblip, **keeping(kept, positions="preserve")):
        assert not torch.allclose(logits(instructblip, asked), compact, atol=1e-3)
    if "position_ids" in fed:  # T5 has no positions that could be fed
        assert torch.equal(output, oracle_answer(instructblip, fed))


def test_the_report_says_what_happened(instructblip, asked):
    with tokprune.apply(instructblip, keep=0.25) as handle:
        logits(instructblip, asked)
    assert handle.report.counts.tolist() == [2, 2]
    assert (handle.report.length_before, handle.report.length_after) == (14, 8)


def test_the_prompt_may_be_embeddings(instructblip, asked):
    with tokprune.apply(instructblip, keep=3):
        expected = logits(instructblip, asked)
        assert torch.equal(logits(instructblip, as_embeddings(instructblip, asked)), expected)


def test_without_a_prompt_the_model_makes_its_own(instructblip, asked):
    alone = {name: asked[name] for name in ("pixel_values", "qformer_input_ids", "qformer_attention_mask")}
    before = generate(instructblip, alone)
    with tokprune.apply(instructblip, keep=1.0):
        assert torch.equal(generate(instructblip, alone), before)
    with tokprune.apply(instructblip, keep=2) as handle:
        assert not torch.equal(generate(instructblip, alone), before)
    assert (handle.report.length_before, handle.report.length_after) == (9, 3)


def test_arguments_may_be_positional(instructblip, asked, instructed):
    if instructed == "t5":
        asked["decoder_input_ids"] = torch.tensor([[0, 2, 12, 13]] * 2)
    with tokprune.apply(instructblip, scorer="self-attention", keep=3), torch.no_grad():
        assert torch.equal(instructblip(*asked.values()).logits, instructblip(**asked).logits)


@pytest.mark.parametrize("given", ["all", "none"])
def test_masks_that_are_not_given_count_as_all_ones(instructblip, instructed, given):
    inputs = prompts(instructed, pads=(0, 0))
    left_away = ("attention_mask", "qformer_attention_mask")
    masks = {name: inputs[name] for name in left_away} if given == "all" else {}
    found = {**{name: value for name, value in inputs.items() if name not in left_away}, **masks}
    with tokprune.apply(instructblip, scorer="self-attention", keep=3):
        expected = generate(instructblip, inputs)
        assert torch.equal(generate(instructblip, found), expected)


def test_the_loss_is_that_of_the_shorter_sequence(instructblip, asked):
    labels = asked["input_ids"].masked_fill(asked["input_ids"] < 10, -100)
    if instructblip.language_model.config.is_encoder_decoder:
        labels = torch.tensor([[12, 13, 14, 15], [20, 21, 22, -100]])
    before = forward(instructblip, asked, labels=labels).loss
    with tokprune.apply(instructblip, keep=1.0):
        assert torch.equal(forward(instructblip, asked, labels=labels).loss, before)
    with tokprune.apply(instructblip, keep=2) as handle:
        found = forward(instructblip, asked, labels=labels).loss
    fed = hand_fed(instructblip, asked, handle.report.kept)
    shorter, ids = labels, fed.pop("input_ids", None)
    if ids is not None:
        shorter = ids.masked_fill(ids < 10, -100)
    with torch.no_grad():
        expected = instructblip.language_model(**fed, **decoder(instructblip, asked), labels=shorter).loss
    assert torch.allclose(found, expected, atol=1e-6)
    assert (found - before).abs() > 1e-3


@pytest.mark.parametrize("target", ["query", "image"])
def test_remove_leaves_exactly_the_model_there_was(fresh_instructblip, asked, target):
    model = fresh_instructblip
    before, found, kept = logits(model, asked), traces(model), weights(model)
    options = {"keep": 2, "target": target, "scorer": "self-attention"}
    handle = tokprune.apply(model, **options)
    assert hook_count(model) > 3
    assert not torch.equal(logits(model, asked)[:, -1], before[:, -1])
    generate(model, asked)
    handle.remove()
    assert traces(model) == found
    assert hook_count(model) == 0
    assert same_weights(weights(model), kept)
    assert torch.equal(logits(model, asked), before)


def test_remove_works_after_an_error_in_the_middle(fresh_instructblip, asked):
    before, found = logits(fresh_instructblip, asked), traces(fresh_instructblip)
    wrong = {**asked, "input_ids": asked["input_ids"].clone()}
    wrong["input_ids"][1, 0] = 20  # a placeholder is missing
    with tokprune.apply(fresh_instructblip, scorer="self-attention", keep=2):
        with pytest.raises(tokprune.UnsupportedCallError, match="row 1"):
            logits(fresh_instructblip, wrong)
        logits(fresh_instructblip, asked)
    assert traces(fresh_instructblip) == found
    assert torch.equal(logits(fresh_instructblip, asked), before)


@pytest.mark.parametrize("scorer", ["catp-vote", "self-attention"])
def test_a_model_in_bfloat16_is_fed_the_kept_tokens(fresh_instructblip, asked, scorer):
    model = fresh_instructblip.to(torch.bfloat16)
    inputs = {**asked, "pixel_values": asked["pixel_values"].to(torch.bfloat16)}
    before = logits(model, inputs)
    with tokprune.apply(model, scorer=scorer, keep=1.0):
        assert torch.equal(logits(model, inputs), before)
    with tokprune.apply(model, scorer=scorer, keep=3) as handle:
        found = logits(model, inputs)
    fed = hand_fed(model, inputs, handle.report.kept)
    assert fed["inputs_embeds"].dtype == features(model, inputs).dtype == torch.bfloat16
    assert torch.equal(found, oracle_logits(model, inputs, fed))
    assert handle.report.scores.dtype == torch.float32
    assert torch.equal(logits(model, inputs), before)


@pytest.mark.parametrize("target", ["query", "image"])
def test_check_proves_it_on_the_model(instructblip, instructed, asked, target):
    inputs = {**asked, "decoder_input_ids": torch.tensor([[0, 2]] * 2)} if instructed == "t5" else asked
    with tokprune.apply(instructblip, scorer="self-attention", keep=0.5, target=target) as handle:
        report = handle.check(inputs)
    assert report.length_after < report.length_before


def test_the_adapter_is_found_by_itself_and_is_not_blip2s(instructblip):
    with tokprune.apply(instructblip, keep=3) as handle:
        assert type(handle.adapter).__name__ == "InstructBlip"


def test_the_adapter_takes_no_part_of_the_model_for_the_model(instructblip):
    for part in (instructblip.vision_model, instructblip.qformer, instructblip.language_model):
        with pytest.raises(tokprune.AdapterError, match="no adapter"):
            tokprune.apply(part, keep=3)
