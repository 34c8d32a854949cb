"""Target "image": keep=1.0 is the model itself, bit for bit, wherever the encoder is cut."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import MODES, generate, logits
from .image_oracle import TOKENS
from .prompts import BATCHES

AFTER = [None, 1, 2, 3, 0.5, 1.0, (1, 3), (2,), "every"]
SCORERS = ["received-attention", "self-attention", "l2-norm", "distinct", "random", "first", "stride"]


def test_these_are_all_scorers_that_fit(opt):
    offered = tokprune.adapter_for(opt).offers(opt)["image"]
    assert sorted(tokprune.fit.fitting_scorers("image", offered)) == sorted(SCORERS)


@pytest.mark.parametrize("after", AFTER, ids=str)
def test_keeping_all_image_tokens_changes_no_bit_wherever_the_cut_is(model, inputs, after):
    before = logits(model, inputs)
    with tokprune.apply(model, scorer="received-attention", keep=1.0, target="image", after=after) as handle:
        assert torch.equal(logits(model, inputs), before)
    assert handle.report.kept.all()
    assert handle.report.length_before == handle.report.length_after == TOKENS + 1


@pytest.mark.parametrize("after", [2, "every"])
def test_merging_nothing_changes_nothing(model, inputs, after):
    before = logits(model, inputs)
    options = {"target": "image", "after": after, "reduction": "merge"}
    with tokprune.apply(model, scorer="received-attention", keep=1.0, **options):
        assert torch.equal(logits(model, inputs), before)


@pytest.mark.parametrize("scorer", SCORERS)
def test_keeping_all_image_tokens_changes_nothing_under_any_scorer(opt, scorer):
    inputs = prompts("opt")
    before = logits(opt, inputs)
    with tokprune.apply(opt, scorer=scorer, keep=TOKENS, target="image", after="every"):
        assert torch.equal(logits(opt, inputs), before)


@pytest.mark.parametrize("batch", BATCHES)
def test_keeping_all_image_tokens_changes_no_batch(opt, batch):
    inputs = prompts("opt", **BATCHES[batch])
    before = logits(opt, inputs)
    with tokprune.apply(opt, scorer="received-attention", keep=1.0, target="image", after="every"):
        assert torch.equal(logits(opt, inputs), before)
    assert torch.equal(logits(opt, inputs), before)


@pytest.mark.parametrize("mode", ["greedy", "beams", "sampling"])
def test_keeping_all_image_tokens_changes_no_generated_token(model, inputs, mode):
    before = generate(model, inputs, **MODES[mode])
    with tokprune.apply(model, scorer="received-attention", keep=1.0, target="image", after=(1, 2)):
        assert torch.equal(generate(model, inputs, **MODES[mode]), before)
    assert torch.equal(generate(model, inputs, **MODES[mode]), before)
