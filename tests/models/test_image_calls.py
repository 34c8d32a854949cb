"""Target "image" in every kind of call: batches, prompts, precisions, attention implementations, larger pictures."""

import pytest
import torch
from transformers import Blip2ForConditionalGeneration

import tokprune
from tokprune.testing.tiny_blip2 import BOS, IMAGE, QUERIES, prompts, with_attention

from .calls import MODES, answer, forward, generate, logits
from .image_oracle import answer_by_hand, by_hand, logits_by_hand
from .keeping import IMAGE_SCORERS
from .oracle import oracle_answer, oracle_logits
from .prompts import as_embeddings, row_of

ONE_EACH, PADS = (1, 1, 1), (0, 3, 1)
STEPS = {"target": "image", "after": (1, 3), "keep": 4}
COUNTS = {1: 10, 3: 4}


# -- batches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scorer", IMAGE_SCORERS)
def test_what_is_kept_does_not_depend_on_batch_mates(opt, scorer):
    inputs = prompts("opt", images=ONE_EACH, pads=PADS)
    with tokprune.apply(opt, scorer=scorer, **STEPS) as handle:
        together, kept = logits(opt, inputs), handle.report.kept
        for row in range(3):
            alone = logits(opt, row_of(inputs, row, ONE_EACH))
            assert torch.equal(handle.report.kept[0], kept[row])
            assert torch.allclose(alone[0, -3:], together[row, -3:], atol=2e-4)


@pytest.mark.parametrize("reduction", ["prune", "merge"])
def test_generated_tokens_do_not_depend_on_batch_mates(model, kind, reduction):
    inputs = prompts(kind, images=ONE_EACH, pads=PADS)
    with tokprune.apply(model, scorer="received-attention", reduction=reduction, **STEPS):
        together = answer(model, inputs, generate(model, inputs))
        for row in range(3):
            mine = row_of(inputs, row, ONE_EACH)
            own = answer(model, mine, generate(model, mine))[0]
            assert together[row, : len(own)].equal(own)


def test_pictures_in_another_order_give_results_in_that_order(model, kind):
    inputs, order = prompts(kind, images=ONE_EACH, pads=PADS), [2, 0, 1]
    shuffled = {name: tensor[order] for name, tensor in inputs.items()}
    with tokprune.apply(model, scorer="received-attention", **STEPS) as handle:
        expected, kept = logits(model, inputs), handle.report.kept
        assert torch.allclose(logits(model, shuffled), expected[order], atol=2e-4)
    assert torch.equal(handle.report.kept, kept[order])
    assert not torch.equal(handle.report.kept, kept)


def test_each_picture_of_a_prompt_is_pruned_for_itself(model, kind):
    inputs, alone = prompts(kind, images=(1, 2), pads=(0, 0)), prompts(kind, images=(1,), pads=(0,))
    with tokprune.apply(model, scorer="received-attention", **STEPS) as handle:
        logits(model, inputs)
        together = handle.report.kept
        for image in range(3):
            logits(model, {**alone, "pixel_values": inputs["pixel_values"][image : image + 1]})
            assert torch.equal(handle.report.kept[0], together[image])
    assert len({tuple(row.tolist()) for row in together}) == 3


# -- prompts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["greedy", "beams"])
def test_without_a_prompt_the_answer_is_that_of_the_prompt_the_model_builds(model, kind, inputs, mode):
    images = {"pixel_values": inputs["pixel_values"]}
    ids = torch.tensor([[IMAGE] * QUERIES + [BOS]] * 2)
    built = {**images, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    expected = answer_by_hand(model, built, COUNTS, MODES[mode])
    with tokprune.apply(model, scorer="received-attention", **STEPS):
        output = generate(model, images, **MODES[mode])
    assert torch.equal(answer(model, built, output), expected)


def test_embeddings_instead_of_ids_give_the_same(model, inputs):
    embedded, (_, fed) = as_embeddings(model, inputs), by_hand(model, inputs, COUNTS)
    with tokprune.apply(model, scorer="received-attention", **STEPS):
        assert torch.equal(logits(model, embedded, input_ids=None), oracle_logits(model, inputs, fed))
        fed.pop("input_ids", None)
        assert torch.equal(generate(model, embedded), oracle_answer(model, fed))


def test_the_encoder_alone_is_pruned_too_and_the_language_model_alone_is_not(opt):
    inputs = prompts("opt")
    encoded = by_hand(opt, inputs, COUNTS)[0]
    embeds = opt.get_input_embeddings()(inputs["input_ids"]).detach()
    with torch.no_grad(), tokprune.apply(opt, scorer="received-attention", **STEPS):
        assert torch.equal(opt.vision_model(inputs["pixel_values"]).last_hidden_state, encoded.states)
        assert torch.equal(opt.get_image_features(inputs["pixel_values"]).last_hidden_state, encoded.states)
        assert opt.language_model(inputs_embeds=embeds).logits.shape[1] == 14


def test_a_layer_outside_a_call_of_the_encoder_is_left_alone(opt):
    states = torch.randn(2, 17, 32)
    layers = opt.vision_model.encoder.layers
    with torch.no_grad():
        expected = layers[2](layers[0](states))
        with tokprune.apply(opt, scorer="received-attention", **STEPS):
            logits(opt, prompts("opt"))
            assert torch.equal(layers[2](layers[0](states)), expected)


# -- precisions, implementations, outputs -----------------------------------------------------------------------

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def by_report(model, inputs, report):
    """Arguments for the language model when the encoder keeps what a report says was kept."""
    return by_hand(model, inputs, {2: 4}, lambda maps, tokens: report.kept.float().tolist())[1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_loaded_in_half_precision_is_pruned_bitwise_as_by_hand(fresh_opt, dtype, tmp_path):
    fresh_opt.save_pretrained(tmp_path)
    model, inputs = Blip2ForConditionalGeneration.from_pretrained(tmp_path, dtype=DTYPES[dtype]).eval(), prompts("opt")
    with tokprune.apply(model, scorer="received-attention", target="image", after=2, keep=4) as handle:
        found = logits(model, inputs)
        assert generate(model, inputs).shape[0] == 2
    assert found.dtype == DTYPES[dtype]
    assert torch.equal(found, oracle_logits(model, inputs, by_report(model, inputs, handle.report)))
    assert handle.report.counts.tolist() == [4, 4]
    assert handle.report.scores.dtype == torch.float32


@pytest.mark.parametrize("reduction", ["prune", "merge"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_cast_by_hand_keeps_the_right_number_in_every_step(fresh, inputs, dtype, reduction):
    cast, wide = fresh.to(DTYPES[dtype]), {**STEPS, "after": "every", "reduction": reduction}
    with tokprune.apply(cast, scorer="received-attention", **wide) as handle:
        states = forward(cast, {**inputs, "pixel_values": inputs["pixel_values"].to(DTYPES[dtype])}).vision_outputs
    assert states.last_hidden_state.shape == (2, 5, 32)
    assert states.last_hidden_state.isfinite().all()
    assert handle.report.counts.tolist() == [4, 4]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_each_attention_implementation_prunes_as_by_hand(fresh, inputs, attention):
    model = with_attention(fresh, attention)
    encoded, fed = by_hand(model, inputs, COUNTS)
    with tokprune.apply(model, scorer="received-attention", **STEPS) as handle:
        assert torch.equal(logits(model, inputs), oracle_logits(model, inputs, fed))
    assert torch.equal(handle.report.kept, encoded.kept)
    assert {m.config._attn_implementation for m in model.modules() if hasattr(m, "config")} == {attention}


@pytest.mark.parametrize("asked", ["before apply", "while pruned"])
def test_hidden_states_are_what_goes_on_behind_each_layer(fresh_opt, asked):
    inputs = prompts("opt")
    encoded = by_hand(fresh_opt, inputs, COUNTS)[0]
    if asked == "before apply":  # transformers installs its recorders at the first such call, and leaves them there
        fresh_opt.vision_model(inputs["pixel_values"], output_hidden_states=True)
    with torch.no_grad(), tokprune.apply(fresh_opt, scorer="received-attention", **STEPS):
        found = fresh_opt.get_image_features(inputs["pixel_values"], output_hidden_states=True).hidden_states
    assert [each.shape[1] for each in found] == [17, 11, 11, 5]
    assert all(torch.equal(one, other) for one, other in zip(found, encoded.sequences, strict=True))


def test_attentions_of_an_eager_encoder_come_out_for_the_shorter_sequence(fresh_opt):
    model, inputs = with_attention(fresh_opt, "eager"), prompts("opt")
    encoded = by_hand(model, inputs, COUNTS)[0]
    with torch.no_grad(), tokprune.apply(model, scorer="received-attention", **STEPS):
        found = model.vision_model(inputs["pixel_values"], output_attentions=True).attentions
    assert [each.shape[-1] for each in found] == [17, 11, 11]
    assert all(torch.equal(one, other) for one, other in zip(found, encoded.maps, strict=True))


def test_the_outputs_of_the_encoder_are_those_by_hand(model, inputs):
    encoded = by_hand(model, inputs, COUNTS)[0]
    with tokprune.apply(model, scorer="received-attention", **STEPS):
        found = forward(model, inputs).vision_outputs
    assert torch.equal(found.last_hidden_state, encoded.states)
    assert torch.equal(found.pooler_output, model.vision_model.post_layernorm(encoded.states[:, 0]))


@pytest.mark.parametrize("size", [(24, 32), (8, 8)])
def test_pictures_of_another_size_are_pruned_as_by_hand(model, inputs, size):
    other = {**inputs, "pixel_values": torch.randn(2, 3, *size)}
    tokens = size[0] // 4 * (size[1] // 4)
    bigger = {"interpolate_pos_encoding": True}
    encoded, _ = by_hand(model, other, {2: tokens // 4}, **bigger)
    with tokprune.apply(model, scorer="received-attention", target="image", after=2, keep=0.25) as handle:
        found = forward(model, other, **bigger)
        assert torch.equal(found.logits, logits_by_hand(model, other, {2: tokens // 4}, **bigger))
        output = generate(model, other, **bigger)
    assert torch.equal(answer(model, other, output), answer_by_hand(model, other, {2: tokens // 4}, {}, **bigger))
    assert torch.equal(handle.report.kept, encoded.kept)
    assert (handle.report.length_before, handle.report.length_after) == (tokens + 1, tokens // 4 + 1)


def test_one_policy_serves_pictures_of_different_sizes_in_turn(opt):
    inputs = prompts("opt")
    with tokprune.apply(opt, scorer="received-attention", target="image", keep=0.25, after="every") as handle:
        for size in (16, 32, 16):
            pixels = torch.randn(2, 3, size, size)
            forward(opt, {**inputs, "pixel_values": pixels}, interpolate_pos_encoding=True)
            assert handle.report.counts.tolist() == [size * size // 64] * 2
