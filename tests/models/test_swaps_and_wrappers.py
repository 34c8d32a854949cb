"""Modules that are swapped, compiled or wrapped around a policy."""

import copy

import pytest
import torch

import tokprune
from tokprune import AdapterError
from tokprune.testing.tiny_blip2 import prompts, tiny_blip2

from .calls import generate, logits
from .traces import hook_count, traces

ATTENTION = "qformer.encoder.layer.0.crossattention.attention"
QUERY = f"{ATTENTION}.query"


class LowRank(torch.nn.Module):
    """What LoRA does to a linear layer."""

    def __init__(self, base):
        super().__init__()
        self.base_layer = base
        self.delta = torch.nn.Linear(base.in_features, base.out_features, bias=False)

    def forward(self, states):
        return self.base_layer(states) + self.delta(states)


def swap(model, path, kind=LowRank):
    parent, _, name = path.rpartition(".")
    original = model.get_submodule(path)
    setattr(model.get_submodule(parent), name, kind(original))
    return original


class Around(torch.nn.Module):
    """Something in the place of a module that calls it."""

    def __init__(self, base):
        super().__init__()
        self.base_layer = base

    def forward(self, *args, **kwargs):
        return self.base_layer(*args, **kwargs)


@pytest.mark.parametrize("path", [ATTENTION, "language_projection"])
def test_a_module_swapped_after_apply_is_named_in_a_clear_error(fresh, inputs, path):
    plain = logits(fresh, inputs)
    handle = tokprune.apply(fresh, keep=3)
    original = swap(fresh, path, LowRank if path == "language_projection" else Around)
    for call in (logits, generate):
        with pytest.raises(AdapterError, match=rf"{path}.* replaced .*tokprune\.apply again"):
            call(fresh, inputs)
    handle.remove()
    assert hook_count(fresh) == 0
    assert path == ATTENTION or (logits(fresh, inputs) - plain).abs().max() > 0
    parent, _, name = path.rpartition(".")
    setattr(fresh.get_submodule(parent), name, original)
    assert torch.equal(logits(fresh, inputs), plain)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_projection_swapped_before_or_after_apply_votes_with_its_change(fresh, inputs, when):
    if when == "before":
        swap(fresh, QUERY)
    handle = tokprune.apply(fresh, scorer="catp-vote:layers=first", keep=3)
    if when == "after":
        swap(fresh, QUERY)
    with torch.no_grad():
        fresh.get_submodule(QUERY).delta.weight.mul_(20)
    with handle:
        logits(fresh, inputs)
        swapped = handle.report.scores
        with torch.no_grad():
            fresh.get_submodule(QUERY).delta.weight.zero_()
        logits(fresh, inputs)
    assert not torch.equal(handle.report.scores, swapped)


def test_a_language_model_swapped_after_apply_is_noticed(fresh, inputs):
    original = fresh.language_model
    handle = tokprune.apply(fresh, keep=3)
    fresh.language_model = copy.deepcopy(original).requires_grad_(False)
    for hooks in ("pre_hooks", "pre_hooks_with_kwargs", "hooks", "hooks_with_kwargs", "hooks_always_called"):
        getattr(fresh.language_model, f"_forward_{hooks}").clear()
    with pytest.raises(AdapterError, match=r"language_model.* replaced"):
        logits(fresh, inputs)
    handle.remove()
    assert hook_count(fresh) == hook_count(original) == 0


@pytest.mark.filterwarnings("ignore:Dynamo:UserWarning")
@pytest.mark.slow
def test_a_model_compiled_before_apply_is_pruned_and_then_is_not(compiler):
    model, inputs = tiny_blip2("opt", shallow=True), prompts("opt", pads=(0, 0))
    plain = logits(model, inputs)
    compiled = compiler(model)
    assert torch.allclose(logits(compiled, inputs), plain, atol=1e-4)
    with tokprune.apply(compiled, keep=3) as handle:
        expected = logits(model, inputs)
        assert (expected - plain).abs().max() > 0.1
        assert torch.allclose(logits(compiled, inputs), expected, atol=1e-4)
        assert handle.model is model
    assert torch.allclose(logits(compiled, inputs), plain, atol=1e-4)
    assert hook_count(model) == 0


@pytest.mark.parametrize("when", ["apply first", "dispatch first"])
def test_hooks_of_accelerate_compose(fresh, inputs, when):
    accelerate = pytest.importorskip("accelerate")
    plain, tokens = logits(fresh, inputs), generate(fresh, inputs)
    with tokprune.apply(fresh, keep=3):
        expected = logits(fresh, inputs), generate(fresh, inputs)

    def dispatch():
        accelerate.dispatch_model(fresh, device_map={"": "cpu"}, force_hooks=True)

    if when == "dispatch first":
        dispatch()
        before = traces(fresh)
    with tokprune.apply(fresh, keep=3):
        if when == "apply first":
            dispatch()
        assert torch.equal(logits(fresh, inputs), expected[0])
        assert torch.equal(generate(fresh, inputs), expected[1])
    if when == "dispatch first":
        assert traces(fresh) == before
    assert torch.equal(logits(fresh, inputs), plain)
    assert torch.equal(generate(fresh, inputs), tokens)
