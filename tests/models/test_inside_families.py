"""Image tokens leave inside the language model of every family that reads them in its prompt."""

import contextlib

import pytest
import torch

import tokprune
from tokprune import UnsupportedCallError
from tokprune.adapters.upstream import encodes_before_expanding

from . import inside_oracle as oracle
from .families import embedmerge, qformer, qwen
from .families.family import assert_same, some_kept
from .keeping import keeping
from .traces import traces

CLOSE = 2e-5
FAMILIES = [
    *embedmerge.FAMILIES,
    *qwen.FAMILIES,
    *(family for family in qformer.FAMILIES if family.target == "query" and family.generated is not None),
]
BATCHES = [(family, name) for family in FAMILIES for name in (None, *family.several)]


def batch(family, name, uneven):
    """Inputs, how many tokens each image has, and which of them stay."""
    inputs = (family.inputs if name is None else family.several[name])()
    model = family.build()
    with tokprune.apply(model, scorer="l2-norm", keep=1.0, target=family.target, after=1) as handle:
        family.answer(model, inputs)
    tokens = handle.report.scores.isfinite().sum(dim=1).tolist()
    counts = [max(1, size // 2 - (uneven and image % 2)) for image, size in enumerate(tokens)]
    return model, inputs, tuple(tokens), some_kept(tokens, counts)


def apart(kept, tokens):
    """What stays of each image, without the columns that it does not have."""
    return [row[:size] for row, size in zip(kept, tokens, strict=True)]


@pytest.mark.parametrize(("family", "name"), BATCHES, ids=lambda each: str(each or "two rows"))
def test_answers_are_those_of_hidden_tokens(family, name):
    model, inputs, tokens, kept = batch(family, name, uneven=True)
    before, plain = traces(model), family.answer(model, inputs)
    mixing = not encodes_before_expanding(model) and name is not None  # such releases mix up images under beams
    with tokprune.apply(model, target=family.target, after=1, **keeping(kept, tokens)):
        found = family.answer(model, inputs)
        new = {"greedy": family.new(model, inputs, family.generate(model, inputs, "greedy"))}
        with contextlib.suppress(UnsupportedCallError) if mixing else contextlib.nullcontext():
            new["beams"] = family.new(model, inputs, family.generate(model, inputs, "beams"))
    assert traces(model) == before
    hidden = apart(kept, tokens)
    with oracle.hiding(model, inputs, hidden, 1):
        expected = family.answer(model, inputs)
        for mode, tokens in new.items():
            assert torch.equal(tokens, family.new(model, inputs, family.generate(model, inputs, mode))), mode
    assert_same(found, oracle.filled(inputs, hidden, expected), CLOSE)
    assert (found - plain).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_the_text_votes_there(family):
    model, inputs = family.build(), family.inputs()
    options = {"scorer": "text-attention", "target": family.target, "after": 1}
    plain = family.answer(model, inputs)
    with tokprune.apply(model, keep=1.0, **options):
        assert torch.equal(family.answer(model, inputs), plain)
    with tokprune.apply(model, keep=0.5, **options) as handle:
        family.generate(model, inputs, "greedy")
        scores = handle.report.scores
    assert scores[0][scores[0].isfinite()].std() > 1e-4
    with tokprune.apply(model, keep=0.5, **options) as handle:
        family.generate(model, inputs, "beams")
    assert torch.allclose(handle.report.scores, scores, atol=1e-5, equal_nan=True)
