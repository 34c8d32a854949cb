"""Target "image": keep=1.0 is the model itself, bit for bit, wherever the encoder is cut."""

import pytest
import torch

import tokprune

from .calls import MODES, generate, logits
from .image_oracle import TOKENS
from .prompts import BATCHES

AFTER = [None, 1, 2, 3, 0.5, 1.0, (1, 3), (2,), "every"]


@pytest.mark.parametrize("after", AFTER, ids=str)
def test_keeping_all_image_tokens_changes_no_bit_wherever_the_cut_is(either, laid, after):
    before = logits(either, laid)
    with tokprune.apply(either, scorer="received-attention", keep=1.0, target="image", after=after) as handle:
        assert torch.equal(logits(either, laid), before)
    assert handle.report.kept.all()
    assert handle.report.length_before == handle.report.length_after == TOKENS + 1


@pytest.mark.parametrize("after", [2, "every"])
def test_merging_nothing_changes_nothing(either, laid, after):
    before = logits(either, laid)
    options = {"target": "image", "after": after, "reduction": "merge"}
    with tokprune.apply(either, scorer="received-attention", keep=1.0, **options):
        assert torch.equal(logits(either, laid), before)


@pytest.mark.parametrize("batch", BATCHES)
def test_keeping_all_image_tokens_changes_no_batch(either, lay, batch):
    inputs = lay(**BATCHES[batch])
    before = logits(either, inputs)
    with tokprune.apply(either, scorer="received-attention", keep=1.0, target="image", after="every"):
        assert torch.equal(logits(either, inputs), before)
    assert torch.equal(logits(either, inputs), before)


@pytest.mark.parametrize("mode", ["greedy", "beams", "sampling"])
def test_keeping_all_image_tokens_changes_no_generated_token(either, laid, mode):
    before = generate(either, laid, **MODES[mode])
    with tokprune.apply(either, scorer="received-attention", keep=1.0, target="image", after=(1, 2)):
        assert torch.equal(generate(either, laid, **MODES[mode]), before)
    assert torch.equal(generate(either, laid, **MODES[mode]), before)
