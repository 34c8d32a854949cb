"""On the bundled model, end to end."""

from __future__ import annotations

import pytest
import torch
from helpers_committees import RULES, expected

import tokprune
from tokprune import Policy
from tokprune.zoo import load_dataset, load_model


@pytest.fixture(scope="module")
def shapes():
    model, processor = load_model("blip2-shapes")
    samples = load_dataset("shapes-vqa", n=3)
    texts = [f"Question: {sample.question} Short answer:" for sample in samples]
    inputs = processor(images=[s.image for s in samples], text=texts, return_tensors="pt", padding=True)
    return model, inputs


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scorer", ["catp-vote", "self-attention"])
def test_query_tokens_leave(shapes, rule, scorer):
    model, inputs = shapes
    with tokprune.apply(model, scorer=scorer, selector=rule, keep=8) as handle, torch.no_grad():
        model.generate(**inputs, max_new_tokens=2)
    assert handle.report.counts.tolist() == [8, 8, 8]
    assert handle.report.length_before - handle.report.length_after == 24


@pytest.mark.parametrize("rule", RULES)
def test_image_tokens_leave(shapes, rule):
    model, inputs = shapes
    policy = Policy("received-attention", selector=rule, keep=0.25, target="image")
    with tokprune.apply(model, policy) as handle, torch.no_grad():
        model(**inputs)
    assert handle.report.counts.tolist() == [16, 16, 16]


@pytest.mark.parametrize("rule", RULES)
def test_they_elect_whom_the_model_s_voters_elect_in_the_textbook(shapes, rule):
    model, inputs = shapes
    signal = tokprune.observe(model, inputs, needs=("cross_attention",))
    policy = Policy("catp-vote", selector=rule, keep=3)
    layers = [layer.of_voters(0, 17) for layer in policy.scorer(signal)]  # of each head: fractions are slow
    scores = policy.aggregator(layers)
    kept = policy.selector(scores, 3, votes=layers)
    together = tokprune.Votes(torch.cat([layer.values for layer in layers], dim=1))
    one = tokprune.Votes(together.values[:1])
    assert torch.equal(kept[:1], expected(rule, one, scores[:1], 3))


@pytest.mark.parametrize("rule", RULES)
def test_they_can_keep_others_than_top_k(shapes, rule):
    model, inputs = shapes
    kept = {}
    for name in ("top-k", rule):
        with tokprune.apply(model, scorer="catp-vote", selector=name, keep=8) as handle, torch.no_grad():
            model(**inputs)
        kept[name] = handle.report.kept
    assert not torch.equal(kept["top-k"], kept[rule])


@pytest.mark.parametrize("rule", RULES)
def test_half_precision(shapes, rule):
    _, inputs = shapes
    model, _ = load_model("blip2-shapes")
    model = model.to(torch.bfloat16)
    half = {name: v.to(torch.bfloat16) if v.is_floating_point() else v for name, v in inputs.items()}
    with tokprune.apply(model, scorer="catp-vote", selector=rule, keep=8) as handle, torch.no_grad():
        model(**half)
    assert handle.report.counts.tolist() == [8, 8, 8]
