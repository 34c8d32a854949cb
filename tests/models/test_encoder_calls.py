"""Image encoders: all the ways in which they are called, and what comes out of them."""

import copy
import io

import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer

import tokprune
from tokprune import AdapterError, UnsupportedCallError
from tokprune.testing.tiny_encoders import captions, pictures, tiny_clip, tiny_dinov2, tiny_siglip, tiny_timm

from .families.encoders import FAMILIES, PARTS, timm_pictures

OPTIONS = {"scorer": "received-attention", "keep": 4, "after": 2}
BY_NAME = {family.name: family for family in FAMILIES}


@torch.no_grad()
def test_timms_methods_are_pruned_like_the_model():
    model, x = tiny_timm(reg_tokens=2), timm_pictures()["x"]
    plain = model.forward_features(x)
    with tokprune.apply(model, **OPTIONS) as handle:
        expected = model(x)
        features = model.forward_features(x)
        assert features.shape == (2, 7, 32)
        assert torch.equal(model.forward_head(features), expected)
        last, between = model.forward_intermediates(x, output_fmt="NLC", return_prefix_tokens=True)
        assert torch.equal(last, features)
        assert [tokens.shape[1] for tokens, _ in between] == [16, 4, 4]
        assert [front.shape[1] for _, front in between] == [3, 3, 3]
        (only,) = model.get_intermediate_layers(x, n=1)
        assert torch.equal(only, between[-1][0])
        assert handle.report.length_after == 7
    assert torch.equal(model.forward_features(x), plain)
    assert not {"forward_features", "forward_intermediates"} & set(vars(model))


@torch.no_grad()
def test_what_clip_gives_is_shorter_behind_the_cut():
    model, inputs = tiny_clip("CLIPVisionModel"), pictures()
    with tokprune.apply(model, **OPTIONS):
        found = model(**inputs, output_hidden_states=True)
    assert [each.shape[1] for each in found.hidden_states] == [17, 17, 5, 5]
    assert found.last_hidden_state.shape == (2, 5, 32)
    assert torch.equal(found.pooler_output, model.post_layernorm(found.last_hidden_state[:, 0]))


@torch.no_grad()
@pytest.mark.parametrize("build", [tiny_clip, tiny_siglip])
def test_features_of_images_alone_are_those_of_the_whole_model(build):
    model, inputs = build(), captions()
    with tokprune.apply(model, **OPTIONS) as handle:
        whole = model(**inputs).image_embeds
        kept, handle.report = handle.report.kept, None
        alone = model.get_image_features(inputs["pixel_values"]).pooler_output
        assert torch.equal(handle.report.kept, kept)
    assert torch.allclose(alone / alone.norm(dim=-1, keepdim=True), whole, atol=1e-6)


def test_an_encoder_that_was_replaced_is_noticed():
    for build in (tiny_clip, tiny_siglip):
        model = build()
        with tokprune.apply(model, **OPTIONS):
            model.vision_model = copy.deepcopy(model.vision_model)
            with pytest.raises(AdapterError, match=r"'vision_model\S*' was replaced after tokprune\.apply"):
                model(**captions())
    model = tiny_timm()
    with tokprune.apply(model, **OPTIONS):
        model.blocks[1] = copy.deepcopy(model.blocks[1])
        with pytest.raises(AdapterError, match=r"'blocks\.1\S*' was replaced"):
            model(**timm_pictures())


def test_a_model_of_timm_comes_back_pruned_from_a_file():
    model, inputs, stream = tiny_timm(), timm_pictures(), io.BytesIO()
    with torch.no_grad(), tokprune.apply(model, **OPTIONS):
        expected = model.forward_features(**inputs)
        torch.save(model, stream)
    stream.seek(0)
    loaded = torch.load(stream, weights_only=False)
    with torch.no_grad():
        assert torch.equal(loaded.forward_features(**inputs), expected)
    (handle,) = tokprune.handles_of(loaded)
    handle.remove()
    with torch.no_grad():
        assert torch.equal(loaded(**inputs), model(**inputs))


def test_another_model_in_the_middle_of_a_call_keeps_to_itself():
    one, other, inputs = tiny_timm(), tiny_timm(seed=5), timm_pictures()
    with torch.no_grad(), tokprune.apply(other, **{**OPTIONS, "keep": 2}) as theirs:
        other_alone = other(**inputs)
        with tokprune.apply(one, **OPTIONS) as handle:
            expected = one(**inputs)
            found = []
            hook = one.blocks[0].register_forward_hook(lambda *_: found.append(other(**inputs)))
            assert torch.equal(one(**inputs), expected)
            hook.remove()
    assert torch.equal(found[0], other_alone)
    assert (handle.report.length_after, theirs.report.length_after) == (5, 3)


def test_a_call_that_broke_off_does_not_cut_what_comes_later():
    class Broken:
        needs = ()
        aggregator = "sum"

        def __call__(self, signal):
            raise KeyError("in the middle")

    for family in (BY_NAME["clip's image encoder"], BY_NAME["timm with registers"]):
        model, inputs = family.build(), family.inputs()
        layer = model.blocks[1] if hasattr(model, "blocks") else model.encoder.layers[1]
        states = torch.randn(2, 17, 32)
        with torch.no_grad(), tokprune.apply(model, **{**OPTIONS, "scorer": Broken()}):
            with pytest.raises(KeyError):
                model(**inputs)
            options = {} if hasattr(model, "blocks") else {"attention_mask": None}
            assert layer(states, **options).shape == states.shape


@pytest.mark.parametrize("name", ["clip", "timm with registers"])
def test_autocast_keeps_as_many(name):
    family = BY_NAME[name]
    model, inputs = family.build(), family.inputs()
    with torch.autocast("cpu", torch.bfloat16), tokprune.apply(model, **OPTIONS) as handle:
        assert family.answer(model, inputs).isfinite().all()
    assert handle.report.counts.tolist() == [4, 4]
    assert handle.report.scores.dtype == torch.float32


def gradients(model, inputs):
    """Gradients of every weight that got one."""
    model.zero_grad()
    output = model(**inputs)
    (output if isinstance(output, torch.Tensor) else output.logits).square().mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], rtol=1e-3, atol=1e-5) for name in expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_gradient_checkpointing_changes_nothing_or_is_refused():
    model, inputs = tiny_dinov2("Dinov2ForImageClassification"), pictures()
    with tokprune.apply(model, **OPTIONS):
        plain = gradients(model, inputs)
        model.train()  # there is no dropout in it
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if "__call__" in vars(GradientCheckpointingLayer):
            with pytest.raises(UnsupportedCallError, match=r"gradient checkpointing .* install a newer transformers"):
                gradients(model, inputs)
        else:
            same(gradients(model, inputs), plain)


def test_gradients_of_timm_are_those_by_hand_and_checkpointing_is_refused():
    model, inputs, parts = tiny_timm(), timm_pictures(), PARTS["timm with registers"]
    with tokprune.apply(model, **OPTIONS) as handle:
        found = gradients(model, inputs)
        states = model.blocks[1](model.blocks[0](parts.begin(model, inputs)))
        front = states[:, :1], states[:, 1:][handle.report.kept].view(2, 4, 32)
        model.zero_grad()
        parts.end(model, inputs, model.blocks[2](torch.cat(front, dim=1))).square().mean().backward()
        same(found, {name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        model.set_grad_checkpointing(True)
        with pytest.raises(UnsupportedCallError, match=r"checkpointing in timm .*set_grad_checkpointing\(False\)"):
            model(**inputs)
        with torch.no_grad():
            assert model(**inputs).isfinite().all()


@pytest.mark.filterwarnings("ignore:Dynamo:UserWarning")
@pytest.mark.slow
def test_a_model_of_timm_compiled_before_apply_is_pruned_and_then_is_not(compiler):
    model, inputs = tiny_timm(), timm_pictures()
    compiled = compiler(model)
    with torch.no_grad():
        plain = model(**inputs)
        assert torch.allclose(compiled(**inputs), plain, atol=1e-4)
        with tokprune.apply(compiled, **OPTIONS) as handle:
            expected = model(**inputs)
            handle.report = None
            assert torch.allclose(compiled(**inputs), expected, atol=1e-4)
            assert handle.report.length_after == 5
        assert torch.allclose(compiled(**inputs), plain, atol=1e-4)
