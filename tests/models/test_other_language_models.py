"""BLIP-2 around another decoder: LLaMA rotates by positions, and counts them differently in forward and generate."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts, tiny_blip2

from .calls import MODES, answer, generate, logits
from .keeping import keeping
from .oracle import hand_fed, oracle_answer, oracle_logits, own_positions, some_kept
from .test_positions import hidden
from .test_reductions import real_rows

PADS = {"padded": (0, 3), "without padding": (0, 0)}


@pytest.fixture(scope="module")
def llama():
    """A tiny BLIP-2 with LLaMA."""
    return tiny_blip2("llama")


@pytest.fixture(params=PADS)
def inputs(request):
    return prompts("llama", pads=PADS[request.param])


def test_keeping_all_tokens_changes_nothing(llama, inputs):
    before = logits(llama, inputs), generate(llama, inputs)
    for positions in ("compact", "preserve"):
        with tokprune.apply(llama, keep=1.0, positions=positions):
            assert torch.equal(logits(llama, inputs), before[0])
            assert torch.equal(generate(llama, inputs), before[1])
    assert torch.equal(logits(llama, inputs), before[0])


@pytest.mark.parametrize("mode", MODES)
def test_compact_calls_are_bitwise_those_fed_by_hand(llama, inputs, mode):
    kept = some_kept(2, 3)
    fed = hand_fed(llama, inputs, kept)
    with tokprune.apply(llama, **keeping(kept)):
        assert torch.equal(logits(llama, inputs), oracle_logits(llama, inputs, fed))
        output = answer(llama, inputs, generate(llama, inputs, **MODES[mode]))
    assert torch.equal(output, oracle_answer(llama, fed, **MODES[mode]))


@pytest.mark.parametrize("reduction", ["prune", "mask"])
def test_preserved_positions_give_the_logits_of_the_masked_model(llama, inputs, reduction):
    kept = some_kept(2, 3)
    places = torch.arange(14).repeat(2, 1)  # LLaMA itself counts padding too
    masked = {**inputs, "attention_mask": hidden(inputs, kept), "position_ids": places}
    expected = real_rows(llama, inputs, kept, logits(llama, masked))
    with tokprune.apply(llama, **keeping(kept, positions="preserve", reduction=reduction)):
        found = real_rows(llama, inputs, kept, logits(llama, inputs))
    assert torch.allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_preserved_positions_give_the_answers_of_the_masked_model(llama, inputs, beams):
    kept, options = some_kept(2, 3), {"num_beams": beams, "do_sample": False}
    masked = {**inputs, "attention_mask": hidden(inputs, kept)}
    masked["position_ids"] = own_positions(inputs["attention_mask"])
    expected = generate(llama, masked, **options)
    with tokprune.apply(llama, **keeping(kept, positions="preserve")):
        assert torch.equal(generate(llama, inputs, **options), expected)
    with tokprune.apply(llama, **keeping(kept)):
        assert not torch.equal(generate(llama, inputs, **options), expected)
