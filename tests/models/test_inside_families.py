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


@pytest.mark.parametrize(
    "name", ["qwen2-vl", "paligemma", "blip2 with opt, query tokens", "blip2 with t5, query tokens"]
)
def test_a_merged_token_counts_for_as_many_as_it_stands_for(name):
    family = next(each for each in FAMILIES if each.name == name)
    model, inputs = family.build(), family.inputs()
    options = {"scorer": "l2-norm", "target": family.target, "keep": 3, "reduction": "merge", "after": 1}
    entered, new = [], {}
    with tokprune.apply(model, **options) as handle:
        for mode in ("greedy", "beams"):
            new[mode] = family.new(model, inputs, family.generate(model, inputs, mode))
        hook = layer_of(model, 1).register_forward_pre_hook(lambda _, args: entered.append(args[0]))
        found, report = family.answer(model, inputs), handle.report
        hook.remove()
    with tokprune.apply(model, attention="plain", **options):
        assert (family.answer(model, inputs) - found).abs().max() > 0.05
    first = oracle.image_tokens(inputs).int().argmax(dim=1).tolist()
    merged = torch.cat([entered[0][row, place : place + 3] for row, place in enumerate(first)])
    with oracle.hiding(model, inputs, report.kept, 1, report.sizes, merged):
        for mode, tokens in new.items():
            assert torch.equal(tokens, family.new(model, inputs, family.generate(model, inputs, mode))), mode
        expected = family.answer(model, inputs)
    assert_same(found, oracle.filled(inputs, report.kept, expected), CLOSE)


def layer_of(model, index):
    """A layer of the language model, of an encoder-decoder that of its encoder."""
    inner = getattr(model, "language_model", model)
    if model.config.get_text_config().is_encoder_decoder:
        return inner.get_encoder().block[index]
    decoder = inner.get_decoder()
    return getattr(decoder, "decoder", decoder).layers[index]
