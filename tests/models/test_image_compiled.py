"""Target "image" and torch.compile of the image encoder, without code generation."""

import copy

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts, tiny_blip2

from .calls import logits
from .traces import hook_count

OPTIONS = {"scorer": "received-attention", "keep": 4, "target": "image", "after": 1}


def two_layers():
    """A model whose encoder can be cut in the middle, with little to compile."""
    model = tiny_blip2("opt", shallow=True)
    model.vision_model.encoder.layers.append(copy.deepcopy(model.vision_model.encoder.layers[0]))
    model.config.vision_config.num_hidden_layers = 2
    return model


@pytest.mark.filterwarnings("ignore:Dynamo:UserWarning")
@pytest.mark.slow
def test_an_encoder_compiled_after_or_before_apply_is_pruned_and_then_is_not(compiler):
    model, inputs = two_layers(), prompts("opt")
    plain = logits(model, inputs)
    with tokprune.apply(model, **OPTIONS):
        expected = logits(model, inputs)
        model.vision_model = compiler(model.vision_model)
        assert torch.allclose(logits(model, inputs), expected, atol=1e-4)
    assert torch.allclose(logits(model, inputs), plain, atol=1e-4)
    with tokprune.apply(model, **OPTIONS) as handle:
        assert torch.allclose(logits(model, inputs), expected, atol=1e-4)
        assert handle.report.length_after == 5
    assert hook_count(model) == 0
