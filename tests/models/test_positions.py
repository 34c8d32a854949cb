"""positions="compact" counts the kept tokens anew; "preserve" leaves every token at its own place."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import MODES, answer, generate, logits
from .either import only
from .keeping import keeping
from .oracle import hand_fed, oracle_answer, oracle_logits, own_positions, some_kept, stays
from .prompts import BATCHES, as_embeddings
from .test_reductions import real_rows


def hidden(inputs, kept):
    """The mask of the unpruned prompt with the dropped tokens struck out."""
    mask = torch.zeros_like(inputs["attention_mask"])
    for row, places in enumerate(stays(inputs, kept)):
        mask[row, places] = inputs["attention_mask"][row, places]
    return mask


def masking_oracle(model, inputs, kept, positions):
    """Inputs for the unpruned model: dropped tokens hidden by the mask.

    OPT counts positions by the mask, so hiding alone compacts; T5 counts places, so hiding alone preserves.
    """
    masked = {**inputs, "attention_mask": hidden(inputs, kept)}
    if positions == "preserve" and not model.language_model.config.is_encoder_decoder:
        masked["position_ids"] = own_positions(inputs["attention_mask"])
    return masked


CASES = [("opt", "compact"), ("opt", "preserve"), ("t5", "preserve")]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("kind", "positions"), CASES)
def test_pruned_logits_are_those_of_the_masked_model(model, kind, positions, batch):
    inputs = prompts(kind, **BATCHES[batch])
    kept = some_kept(len(inputs["pixel_values"]), 3)
    expected = real_rows(model, inputs, kept, logits(model, masking_oracle(model, inputs, kept, positions)))
    with tokprune.apply(model, **keeping(kept, positions=positions)):
        assert torch.allclose(real_rows(model, inputs, kept, logits(model, inputs)), expected, atol=2e-4)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "repetition penalty"])
@pytest.mark.parametrize(("kind", "positions"), CASES)
def test_pruned_answers_are_those_of_the_masked_model(model, kind, positions, mode):
    inputs, kept = prompts(kind), some_kept(2, 3)
    expected = generate(model, masking_oracle(model, inputs, kept, positions), **MODES[mode])
    with tokprune.apply(model, **keeping(kept, positions=positions)):
        assert torch.equal(generate(model, inputs, **MODES[mode]), expected)


@pytest.mark.parametrize("mode", MODES)
def test_preserved_positions_are_bitwise_those_fed_by_hand(opt, mode):
    inputs, kept = prompts("opt"), some_kept(2, 3)
    fed = hand_fed(opt, inputs, kept, positions="preserve")
    with tokprune.apply(opt, **keeping(kept, positions="preserve")):
        assert torch.equal(logits(opt, inputs), oracle_logits(opt, inputs, fed))
        output = answer(opt, inputs, generate(opt, inputs, **MODES[mode]))
    assert torch.equal(output, oracle_answer(opt, fed, **MODES[mode]))


@only("instructblip-llama")
def test_answers_with_preserved_positions_are_those_fed_by_hand(either, laid):
    kept = some_kept(2, 3)
    fed = hand_fed(either, laid, kept, positions="preserve")
    with tokprune.apply(either, **keeping(kept, positions="preserve")):
        output = answer(either, laid, generate(either, laid))
    assert torch.equal(output, oracle_answer(either, fed))


def test_the_two_treatments_differ(either, laid):
    kept, found = some_kept(2, 3), []
    for positions in ("compact", "preserve"):
        with tokprune.apply(either, **keeping(kept, positions=positions)):
            found.append(logits(either, laid)[:, -1])
    assert (found[0] - found[1]).abs().max() > 0.05


def test_the_two_treatments_can_give_other_answers(model, inputs):
    kept, found = some_kept(2, 3), []
    for positions in ("compact", "preserve"):
        with tokprune.apply(model, **keeping(kept, positions=positions)):
            found.append(generate(model, inputs))
    assert not torch.equal(*found)


def test_tokens_at_the_front_stay_where_they_are_under_both(opt):
    inputs = prompts("opt", images=(1,), pads=(0,))
    seen = []
    hook = opt.language_model.model.decoder.embed_positions.register_forward_hook(
        lambda module, args, output: seen.append(output.detach())
    )
    for positions in ("compact", "preserve"):
        with tokprune.apply(opt, scorer="first", keep=3, positions=positions):
            logits(opt, inputs)
    hook.remove()
    compact, preserve = seen
    assert torch.equal(compact[:, :3], preserve[:, :3])
    assert not torch.equal(compact[:, 3:], preserve[:, 3:])


def test_position_ids_of_the_caller_follow_their_tokens(opt):
    inputs, kept = prompts("opt"), some_kept(2, 3)
    given = own_positions(inputs["attention_mask"]) * 2
    fed = hand_fed(opt, inputs, kept, positions="preserve")
    fed["position_ids"] = fed["position_ids"] * 2
    with tokprune.apply(opt, **keeping(kept, positions="preserve")):
        assert torch.equal(logits(opt, inputs, position_ids=given), oracle_logits(opt, inputs, fed))


@pytest.mark.parametrize("positions", ["compact", "preserve"])
def test_positions_hold_for_prompts_that_are_embedded_or_missing(model, inputs, positions):
    kept = some_kept(2, 3)
    with tokprune.apply(model, **keeping(kept, positions=positions)):
        assert torch.equal(logits(model, as_embeddings(model, inputs), input_ids=None), logits(model, inputs))
    images = {"pixel_values": inputs["pixel_values"]}
    found = []
    for reduction in ("prune", "mask"):
        with tokprune.apply(model, **keeping(kept, positions=positions, reduction=reduction)):
            found.append(generate(model, images))
    assert torch.equal(*found)


@pytest.mark.parametrize("pads", [(0, 3), (0, 0)], ids=["padded", "without padding"])
@pytest.mark.parametrize("positions", ["compact", "preserve"])
def test_asking_for_no_cache_changes_no_answer(model, kind, pads, positions):
    inputs = prompts(kind, pads=pads)  # only an encoder-decoder really goes without: others need it for embeddings
    with tokprune.apply(model, keep=3, positions=positions):
        assert torch.equal(generate(model, inputs, use_cache=False), generate(model, inputs))
