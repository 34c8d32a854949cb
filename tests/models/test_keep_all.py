"""keep=1.0 is the model itself, bit for bit, while the policy sits on it and after it is gone."""

import pytest
import torch

import tokprune

from .calls import MODES, generate, logits
from .keeping import QUERY_SCORERS
from .oracle import question
from .prompts import BATCHES

TREATMENTS = [
    {"reduction": reduction, "positions": positions}
    for reduction in ("prune", "merge", "mask")
    for positions in ("compact", "preserve")
]


@pytest.mark.parametrize("batch", BATCHES)
def test_keeping_all_tokens_changes_no_bit_of_the_logits(either, lay, batch):
    inputs = lay(**BATCHES[batch])
    before = logits(either, inputs)
    with tokprune.apply(either, keep=1.0) as handle:
        assert torch.equal(logits(either, inputs), before)
    assert handle.report.kept.all()
    assert handle.report.length_before == handle.report.length_after == inputs["input_ids"].shape[1]
    assert torch.equal(logits(either, inputs), before)


@pytest.mark.parametrize("mode", MODES)
def test_keeping_all_tokens_changes_no_generated_token(either, laid, mode):
    before = generate(either, laid, **MODES[mode])
    with tokprune.apply(either, keep=1.0):
        assert torch.equal(generate(either, laid, **MODES[mode]), before)
    assert torch.equal(generate(either, laid, **MODES[mode]), before)


@pytest.mark.parametrize("treatment", TREATMENTS, ids=lambda t: "-".join(t.values()))
def test_keeping_all_tokens_changes_nothing_under_any_treatment(either, laid, treatment):
    before = logits(either, laid), generate(either, laid)
    with tokprune.apply(either, keep=1.0, **treatment):
        assert torch.equal(logits(either, laid), before[0])
        assert torch.equal(generate(either, laid), before[1])


def test_keeping_all_tokens_in_their_places_changes_nothing_under_any_scorer(either, laid):
    before = logits(either, laid)
    for scorer in QUERY_SCORERS:
        with tokprune.apply(either, scorer=scorer, keep=8, positions="preserve"):
            assert torch.equal(logits(either, laid), before), scorer


def test_no_prompt_and_all_tokens_generate_what_the_model_generates(either, laid):
    images = {"pixel_values": laid["pixel_values"], **question(laid)}
    before = generate(either, images)
    with tokprune.apply(either, keep=1.0):
        assert torch.equal(generate(either, images), before)
