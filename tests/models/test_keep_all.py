"""keep=1.0 is the model itself, bit for bit, while the policy sits on it and after it is gone."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import MODES, generate, logits
from .keeping import QUERY_SCORERS
from .prompts import BATCHES

TREATMENTS = [
    {"reduction": reduction, "positions": positions}
    for reduction in ("prune", "merge", "mask")
    for positions in ("compact", "preserve")
]


@pytest.mark.parametrize("batch", BATCHES)
def test_keeping_all_tokens_changes_no_bit_of_the_logits(model, kind, batch):
    inputs = prompts(kind, **BATCHES[batch])
    before = logits(model, inputs)
    with tokprune.apply(model, keep=1.0) as handle:
        assert torch.equal(logits(model, inputs), before)
    assert handle.report.kept.all()
    assert handle.report.length_before == handle.report.length_after == inputs["input_ids"].shape[1]
    assert torch.equal(logits(model, inputs), before)


@pytest.mark.parametrize("mode", MODES)
def test_keeping_all_tokens_changes_no_generated_token(model, inputs, mode):
    before = generate(model, inputs, **MODES[mode])
    with tokprune.apply(model, keep=1.0):
        assert torch.equal(generate(model, inputs, **MODES[mode]), before)
    assert torch.equal(generate(model, inputs, **MODES[mode]), before)


@pytest.mark.parametrize("treatment", TREATMENTS, ids=lambda t: "-".join(t.values()))
def test_keeping_all_tokens_changes_nothing_under_any_treatment(model, inputs, treatment):
    before = logits(model, inputs), generate(model, inputs)
    with tokprune.apply(model, keep=1.0, **treatment):
        assert torch.equal(logits(model, inputs), before[0])
        assert torch.equal(generate(model, inputs), before[1])


@pytest.mark.parametrize("scorer", QUERY_SCORERS)
def test_keeping_all_tokens_changes_nothing_under_any_scorer(model, inputs, scorer):
    before = logits(model, inputs)
    with tokprune.apply(model, scorer=scorer, keep=8):
        assert torch.equal(logits(model, inputs), before)


def test_no_prompt_and_all_tokens_generate_what_the_model_generates(model, inputs):
    images = {"pixel_values": inputs["pixel_values"]}
    before = generate(model, images)
    with tokprune.apply(model, keep=1.0):
        assert torch.equal(generate(model, images), before)
