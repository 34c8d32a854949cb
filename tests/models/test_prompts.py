"""What generate gives back, and prompts that are missing, embedded, or hold several images."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import BOS, IMAGE, QUERIES, prompts

from .calls import MODES, answer, forward, generate, logits
from .keeping import keeping
from .oracle import hand_fed, oracle_answer, oracle_logits, question, some_kept
from .prompts import BATCHES, as_embeddings


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batch", ["one row", "one and two images"])
def test_the_prompt_comes_back_in_front_of_the_answer(opt, batch, mode):
    inputs = prompts("opt", **BATCHES[batch])
    with tokprune.apply(opt, keep=2):
        output = generate(opt, inputs, **MODES[mode])
    rows, length = inputs["input_ids"].shape
    copies = output.shape[0] // rows
    assert copies == MODES[mode].get("num_return_sequences", 1)
    assert torch.equal(output[:, :length], inputs["input_ids"].repeat_interleave(copies, dim=0))
    assert output.shape[1] > length


def test_an_encoder_decoder_answer_has_no_prompt_in_front(t5):
    inputs = prompts("t5")
    before = generate(t5, inputs)
    with tokprune.apply(t5, keep=2):
        assert generate(t5, inputs)[:, 0].equal(before[:, 0])
        assert generate(t5, inputs).shape[1] <= 6


@pytest.mark.parametrize("mode", MODES)
def test_without_a_prompt_the_model_builds_it_and_it_comes_back(either, lay, laid, mode):
    images, kept = {"pixel_values": laid["pixel_values"], **question(laid)}, some_kept(2, 3)
    ids = torch.tensor([[IMAGE] * QUERIES + [BOS]] * 2)
    built = {**images, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    unpruned = generate(either, images, **MODES[mode])
    expected = oracle_answer(either, hand_fed(either, built, kept), **MODES[mode])
    with tokprune.apply(either, **keeping(kept)) as handle:
        output = generate(either, images, **MODES[mode])
    assert (handle.report.length_before, handle.report.length_after) == (9, 4)
    assert torch.equal(answer(either, built, output), expected)
    if not either.language_model.config.is_encoder_decoder:
        assert torch.equal(output[:, :9], unpruned[:, :9])


@pytest.mark.parametrize("batch", BATCHES)
def test_embeddings_instead_of_ids_give_the_same_logits(either, lay, batch):
    inputs = lay(**BATCHES[batch])
    kept = some_kept(len(inputs["pixel_values"]), 3)
    expected = oracle_logits(either, inputs, hand_fed(either, inputs, kept))
    with tokprune.apply(either, **keeping(kept)):
        assert torch.equal(logits(either, as_embeddings(either, inputs), input_ids=None), expected)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "repetition penalty"])
def test_embeddings_instead_of_ids_generate_the_same_tokens(model, inputs, mode):
    kept, embedded = some_kept(2, 3), as_embeddings(model, inputs)
    fed = hand_fed(model, inputs, kept)
    fed.pop("input_ids", None)
    expected = oracle_answer(model, fed, **MODES[mode])
    with tokprune.apply(model, **keeping(kept)):
        assert torch.equal(generate(model, embedded, **MODES[mode]), expected)


def test_embeddings_and_ids_together_generate_the_same_tokens(opt):
    inputs, kept = prompts("opt"), some_kept(2, 3)
    both = {**inputs, **as_embeddings(opt, inputs)}
    with tokprune.apply(opt, **keeping(kept)):
        assert torch.equal(generate(opt, both), generate(opt, inputs))


def test_each_image_of_a_prompt_is_pruned_for_itself(model, kind):
    inputs = prompts(kind, images=(1, 2), pads=(0, 0))
    with tokprune.apply(model, keep=3) as handle:
        forward(model, inputs)
        together = handle.report.kept
        for image in range(3):
            alone = prompts(kind, images=(1,), pads=(0,))
            forward(model, {**alone, "pixel_values": inputs["pixel_values"][image : image + 1]})
            assert torch.equal(handle.report.kept[0], together[image])
    assert len({tuple(row.tolist()) for row in together}) > 1
