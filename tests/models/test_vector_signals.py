"""Vectors of the encoder and of the reader's first layer: what the modules themselves compute, of the target tokens."""

from contextlib import ExitStack

import pytest
import torch

import tokprune
from tokprune.signal import ENCODER_VECTORS

from .families.every import FAMILIES
from .test_families import lent

BY_NAME = {family.name: family for family in FAMILIES}
VECTORS = (*ENCODER_VECTORS, "reader_keys", "reader_values")


def outputs(model, inputs, *paths):
    """What the modules at these paths give in one forward, first call first; first in a tuple, without a gradient."""
    found, hooks = {path: [] for path in paths}, ExitStack()
    with hooks, torch.no_grad():
        for path in paths:

            def note(module, args, output, path=path):
                found[path].append(output[0] if isinstance(output, tuple) else output)

            hooks.callback(model.get_submodule(path).register_forward_hook(note).remove)
        model(**inputs)
    return [found[path][0] for path in paths]


def observed(family, needs=VECTORS, **options):
    model = lent(family)
    return model, tokprune.observe(model, family.inputs(), needs=needs, target=family.target, **options)


def test_llavas_are_those_of_the_last_layer_that_is_used_without_cls():
    model, signal = observed(BY_NAME["llava"])
    used = model.config.vision_config.num_hidden_layers + model.config.vision_feature_layer
    layer = f"model.vision_tower.encoder.layers.{used}"
    paths = layer, f"{layer}.self_attn.k_proj", f"{layer}.self_attn.v_proj"
    for name, found in zip(ENCODER_VECTORS, outputs(model, BY_NAME["llava"].inputs(), *paths), strict=True):
        assert torch.equal(getattr(signal, name), found[:, 1:]), name


def test_a_token_that_is_made_of_several_has_their_mean():
    model, signal = observed(BY_NAME["gemma3"])
    layer = f"model.vision_tower.encoder.layers.{model.config.vision_config.num_hidden_layers - 1}"
    paths = layer, f"{layer}.self_attn.k_proj", f"{layer}.self_attn.v_proj"
    rows, _ = signal.grid if "grid" in signal.offered else (int(signal.token_count**0.5), None)
    for name, found in zip(ENCODER_VECTORS, outputs(model, BY_NAME["gemma3"].inputs(), *paths), strict=True):
        side = int(found.shape[1] ** 0.5)
        square = found.view(len(found), rows, side // rows, rows, side // rows, -1)
        torch.testing.assert_close(getattr(signal, name), square.mean(dim=(2, 4)).flatten(1, 2), msg=name)


def test_packed_images_are_put_together_again():
    family = BY_NAME["qwen2-5-vl"]
    model, signal = observed(family)
    last = f"model.visual.blocks.{len(model.model.visual.blocks) - 1}"
    features, fused = outputs(model, family.inputs(), last, f"{last}.attn.qkv")
    order = _window_order(model, family.inputs()["image_grid_thw"])
    images = len(family.inputs()["image_grid_thw"])
    merged = model.config.vision_config.spatial_merge_size**2

    def pooled(states):
        return states.view(-1, merged, states.shape[-1]).mean(dim=1)[order].view(images, -1, states.shape[-1])

    torch.testing.assert_close(signal.encoder_features, pooled(features))
    torch.testing.assert_close(signal.encoder_values, pooled(fused.chunk(3, dim=-1)[2]))
    assert signal.encoder_keys.shape == signal.encoder_values.shape  # rotated, so another test looks at them


def _window_order(model, grids):
    """Where each image token stands in the encoder: windows of whole rows and columns, one after the other."""
    vision, found, start = model.config.vision_config, [], 0
    side = vision.window_size // vision.spatial_merge_size // vision.patch_size
    for frames, height, width in grids.tolist():
        rows, columns = height // vision.spatial_merge_size, width // vision.spatial_merge_size
        tokens = [(f, r, c) for f in range(frames) for r in range(rows) for c in range(columns)]
        order = sorted(tokens, key=lambda at: (at[0], at[1] // side, at[2] // side, at[1], at[2]))
        found += [start + order.index(token) for token in tokens]
        start += len(tokens)
    return torch.tensor(found)


def test_clips_are_those_of_the_layer_in_front_of_the_pruning_point():
    family = BY_NAME["clip"]
    model, signal = observed(family, ENCODER_VECTORS, after=2)
    layer = "vision_model.encoder.layers.1"
    paths = layer, f"{layer}.self_attn.k_proj", f"{layer}.self_attn.v_proj"
    for name, found in zip(ENCODER_VECTORS, outputs(model, family.inputs(), *paths), strict=True):
        assert torch.equal(getattr(signal, name), found[:, 1:]), name


def test_whispers_are_those_of_the_encoders_last_layer():
    family = BY_NAME["whisper"]
    model, signal = observed(family, ENCODER_VECTORS)
    layer = f"model.encoder.layers.{model.config.encoder_layers - 1}.self_attn"
    found = outputs(model, family.inputs(), "model.encoder.layer_norm", f"{layer}.k_proj", f"{layer}.v_proj")
    for name, expected in zip(ENCODER_VECTORS, found, strict=True):
        assert torch.equal(getattr(signal, name), expected), name


def test_without_a_tap_projections_are_observed():
    family = BY_NAME["timm with registers"]
    model, signal = observed(family, ENCODER_VECTORS, after=2)
    features, fused = outputs(model, family.inputs(), "blocks.1", "blocks.1.attn.qkv")
    found = (features, *fused.chunk(3, dim=-1)[1:])
    for name, expected in zip(ENCODER_VECTORS, found, strict=True):
        assert torch.equal(getattr(signal, name), expected[:, model.num_prefix_tokens :]), name


READERS = {
    "llava": ("model.language_model.layers.0", "input_layernorm"),
    "qwen3-vl": ("model.language_model.layers.0", "input_layernorm"),
    "blip2 with opt, query tokens": ("language_model.model.decoder.layers.0", "self_attn_layer_norm"),
    "instructblip with llama, query tokens": ("language_model.model.layers.0", "input_layernorm"),
}


@pytest.mark.parametrize("name", READERS)
def test_the_readers_are_what_its_first_layer_makes_of_the_tokens(name):
    family, (path, norm) = BY_NAME[name], READERS[name]
    model, signal = observed(family, ("tokens", "reader_keys", "reader_values"))
    tokens = signal.tokens
    if family.target == "query":
        tokens = model.language_projection(tokens)
    layer = model.get_submodule(path)
    with torch.no_grad():
        states = getattr(layer, norm)(tokens)
        assert torch.equal(signal.reader_keys, layer.self_attn.k_proj(states))
        assert torch.equal(signal.reader_values, layer.self_attn.v_proj(states))


def test_t5s_encoder_reads_too():
    family = BY_NAME["blip2 with t5, query tokens"]
    model, signal = observed(family, ("tokens", "reader_keys"))
    layer = model.language_model.encoder.block[0].layer[0]
    with torch.no_grad():
        expected = layer.SelfAttention.k(layer.layer_norm(model.language_projection(signal.tokens)))
    assert torch.equal(signal.reader_keys, expected)


def test_inside_a_reader_hidden_states_are_those_at_the_pruning_point_and_keys_those_of_the_first_layer():
    family = BY_NAME["llava, inside the language model"]
    needs = ("hidden_states", "reader_keys", "tokens")
    model, signal = observed(family, needs, after=2)
    front = tokprune.observe(model, family.inputs(), needs=("reader_keys", "tokens"))
    assert torch.equal(signal.reader_keys, front.reader_keys)
    (states,) = outputs(model, family.inputs(), "model.language_model.layers.1")
    places = family.inputs()["input_ids"] == model.config.image_token_id
    expected = states[places].view(signal.hidden_states.shape)
    assert torch.equal(signal.hidden_states, expected)
    assert not torch.equal(signal.hidden_states, front.tokens)


def test_vectors_are_offered_only_where_they_are_observed():
    def offers(name):
        family = BY_NAME[name]
        return set(tokprune.adapter_for(lent(family)).offers(lent(family))[family.target])

    assert set(ENCODER_VECTORS).isdisjoint(
        offers("blip2 with opt, query tokens")
    )  # query tokens are none of the encoder's
    assert set(ENCODER_VECTORS).isdisjoint(offers("idefics2"))
    assert set(ENCODER_VECTORS).isdisjoint(offers("mllama"))
    assert "hidden_states" not in offers("llava")
    assert "reader_keys" not in offers("whisper")
    with pytest.raises(tokprune.AdapterError, match="'hidden_states'"):
        observed(BY_NAME["llava"], ("hidden_states",))


@pytest.mark.parametrize("name", ["llava", "blip2 with opt, query tokens", "llava, inside the language model"])
def test_the_question_is_the_text_after_the_last_image(name):
    family = BY_NAME[name]
    model, signal = observed(family, ("text",), **family.options)
    inputs = family.inputs()
    for row, ids in enumerate(inputs["input_ids"].tolist()):
        last = max(place for place, word in enumerate(ids) if word == model.config.image_token_id)
        expected = [place > last and real for place, real in enumerate(inputs["attention_mask"][row].tolist())]
        assert signal.text.question[row].tolist() == expected
    assert (signal.text.question <= signal.text.mask).all()
