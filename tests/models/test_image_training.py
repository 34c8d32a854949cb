"""Target "image" while training: gradients are those of the encoder run by hand, also under checkpointing."""

import copy

import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer

import tokprune
from tokprune import UnsupportedCallError
from tokprune.testing.tiny_blip2 import prompts

from .calls import decoder, logits
from .image_oracle import encode, feed, norms
from .test_gradients import checkpointed, gradients, same

RUNS_HOOKS_AGAIN = "__call__" in vars(GradientCheckpointingLayer)
"""Whether this release of transformers checkpoints a layer together with its hooks (before 5.23)."""

OPTIONS = {"scorer": "l2-norm", "keep": 4, "target": "image", "after": (1, 3)}
COUNTS = {1: 10, 3: 4}


def vision_gradients(model, value):
    model.zero_grad()
    value.backward()
    found = {name: p.grad for name, p in model.named_parameters() if name.startswith(("vision", "qformer", "query"))}
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


@pytest.mark.parametrize("reduction", ["prune", "merge"])
def test_gradients_are_those_of_the_encoder_run_by_hand(fresh, inputs, reduction):
    encoded = encode(fresh, inputs["pixel_values"], COUNTS, norms, merge=reduction == "merge")
    fed = {name: value for name, value in feed(fresh, inputs, encoded.states).items() if name != "input_ids"}
    expected = vision_gradients(fresh, fresh.language_model(**fed, **decoder(fresh, inputs)).logits.square().mean())
    with tokprune.apply(fresh, reduction=reduction, attention="plain", **OPTIONS):
        found = vision_gradients(fresh, fresh(**inputs, **decoder(fresh, inputs)).logits.square().mean())
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], rtol=1e-3, atol=1e-5) for name in expected)
    assert found["vision_model.embeddings.patch_embedding.weight"].abs().max() > 1e-3


@pytest.mark.parametrize("reduction", ["prune", "merge"])
def test_gradients_reach_dropped_image_tokens_only_where_they_were_merged(fresh_opt, reduction):
    written = []
    fresh_opt.vision_model.encoder.layers[2].mlp.register_forward_hook(
        lambda module, args, output: (output.retain_grad(), written.append(output))[1]
    )
    with tokprune.apply(fresh_opt, **{**OPTIONS, "after": 3, "reduction": reduction}) as handle:
        fresh_opt(**prompts("opt")).logits.square().mean().backward()
    reached = written[0].grad.abs().sum(dim=-1) > 0
    assert reached[:, 0].all()
    assert torch.equal(reached[:, 1:], handle.report.kept | (reduction == "merge"))


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("after", [2, "every"])
def test_gradient_checkpointing_changes_nothing_or_is_refused(fresh, kind, inputs, after, reentrant):
    with tokprune.apply(fresh, **{**OPTIONS, "after": after, "scorer": "received-attention"}):
        plain, expected = gradients(fresh, kind, inputs), logits(fresh, inputs)
        checkpointed(fresh, reentrant)
        if RUNS_HOOKS_AGAIN:
            with pytest.raises(UnsupportedCallError, match=r"gradient checkpointing .* install a newer transformers"):
                gradients(fresh, kind, inputs)
        else:
            same(gradients(fresh, kind, inputs), plain, 1e-5)
        assert torch.equal(logits(fresh, inputs), expected)  # without gradients nothing is computed again


def test_keeping_all_image_tokens_changes_no_gradient(fresh, kind, inputs):
    plain = gradients(fresh, kind, inputs)
    with tokprune.apply(fresh, **{**OPTIONS, "keep": 1.0}):
        same(gradients(fresh, kind, inputs), plain, 1e-6)


def test_a_training_step_while_pruned_changes_the_encoder(fresh, kind, inputs):
    before = copy.deepcopy(fresh.vision_model.state_dict())
    with tokprune.apply(fresh, **OPTIONS):
        gradients(fresh, kind, inputs)
        torch.optim.SGD(fresh.parameters(), lr=0.1).step()
    changed = {name for name, tensor in fresh.vision_model.state_dict().items() if not tensor.equal(before[name])}
    assert {"embeddings.patch_embedding.weight", "encoder.layers.2.mlp.fc1.weight"} <= changed


def test_training_mode_cuts_just_so(fresh, inputs):
    with tokprune.apply(fresh, **OPTIONS) as handle:
        expected = logits(fresh, inputs)
        fresh.train()  # the tiny models have no dropout
        assert torch.equal(logits(fresh, inputs), expected)
        assert handle.report.counts.tolist() == [4, 4]


def test_scores_carry_no_gradient(fresh, inputs):
    with tokprune.apply(fresh, **OPTIONS) as handle:
        fresh(**inputs, **decoder(fresh, inputs))
    assert not handle.report.scores.requires_grad


def test_inference_mode_gives_the_same_logits(model, inputs):
    with tokprune.apply(model, **OPTIONS):
        expected = logits(model, inputs)
        with torch.inference_mode():
            assert torch.equal(logits(model, inputs), expected)
