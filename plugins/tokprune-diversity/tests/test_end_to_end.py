"""On the bundled model: the selectors choose among the tokens that are really there, and fewer go on."""

import pytest
import torch
from diversity_select import create

import tokprune
from tokprune.zoo import load_dataset, load_model

SPECS = ["divprune", "dpp", "dpp:quality=0,centre=True"]


@pytest.fixture(scope="module")
def bundled():
    model, processor = load_model("blip2-shapes")
    samples = load_dataset("shapes-vqa", n=3)
    inputs = processor(
        images=[sample.image for sample in samples],
        text=[f"Question: {sample.question} Short answer:" for sample in samples],
        return_tensors="pt",
        padding=True,
    )
    return model, inputs


@pytest.mark.parametrize("target", ["query", "image"])
@pytest.mark.parametrize("spec", SPECS)
def test_kept_is_what_the_selector_says_of_the_observed_tokens(bundled, spec, target):
    model, inputs = bundled
    policy = tokprune.Policy("l2-norm", keep=0.25, selector=spec, target=target)
    signal = tokprune.observe(model, inputs, needs=("tokens",), target=target)
    with tokprune.apply(model, policy) as handle, torch.no_grad():
        model(**inputs)
    scores = policy.aggregator(policy.scorer(signal))
    assert torch.equal(handle.report.kept, create(spec)(scores, 0.25, tokens=signal.tokens))
    assert handle.report.kept.sum(1).unique().tolist() == [handle.report.kept.shape[1] // 4]
    assert handle.report.length_after < handle.report.length_before


@pytest.mark.parametrize("spec", SPECS)
def test_generation_goes_through_and_differs_from_top_k(bundled, spec):
    model, inputs = bundled
    with tokprune.apply(model, scorer="l2-norm", selector=spec, keep=4) as handle:
        assert model.generate(**inputs, max_new_tokens=3).shape[0] == 3
    kept = handle.report.kept
    with tokprune.apply(model, scorer="l2-norm", keep=4) as handle:
        model.generate(**inputs, max_new_tokens=3)
    assert not torch.equal(kept, handle.report.kept)


@pytest.mark.parametrize("spec", SPECS)
def test_keep_all_changes_nothing(bundled, spec):
    model, inputs = bundled
    with torch.no_grad():
        before = model(**inputs).logits
        with tokprune.apply(model, scorer="l2-norm", selector=spec, keep=1.0):
            assert torch.equal(model(**inputs).logits, before)


def test_half_precision(bundled):
    _, inputs = bundled
    model, _ = load_model("blip2-shapes")
    model = model.bfloat16()
    inputs = {name: x.bfloat16() if x.is_floating_point() else x for name, x in inputs.items()}
    for spec in SPECS:
        for target in ("query", "image"):
            with tokprune.apply(model, scorer="l2-norm", selector=spec, keep=0.25, target=target) as handle:
                assert torch.isfinite(
                    model.generate(**inputs, max_new_tokens=2, output_logits=True, return_dict_in_generate=True).logits[
                        0
                    ]
                ).all()
            assert handle.report.kept.sum(1).unique().numel() == 1
