"""tokprune.observe shows a scorer's view: the model's own attention, vectors and text."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import QUERIES, prompts, with_attention

from .calls import decoder, logits
from .oracle import own_attention
from .traces import traces

PATHS = {
    "cross_attention": [f"qformer.encoder.layer.{i}.crossattention.attention" for i in (0, 2)],
    "self_attention": [f"qformer.encoder.layer.{i}.attention.attention" for i in range(4)],
    "encoder_attention": [f"vision_model.encoder.layers.{i}.self_attn" for i in range(3)],
}
IMAGES = (1, 2)


@pytest.fixture
def whole(model, kind):
    """Inputs that a forward can run on, three images in two rows."""
    inputs = prompts(kind, images=IMAGES, pads=(1, 2))
    return {**inputs, **decoder(model, inputs)}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("signal", PATHS)
def test_attention_is_what_transformers_computes_itself(fresh, whole, signal, attention):
    model = with_attention(fresh, attention)
    observed = getattr(tokprune.observe(model, whole, needs=(signal,)), signal)
    maps = own_attention(model, whole)
    assert len(observed) == len(PATHS[signal])
    for layer, path in zip(observed, PATHS[signal], strict=True):
        assert torch.allclose(layer.attention, maps[path], atol=1e-5)
        assert not torch.allclose(layer.attention, maps[path].flip(1), atol=1e-2)


def test_the_candidates_of_cross_attention_are_the_query_tokens(model, whole):
    maps = own_attention(model, whole)
    layers = tokprune.observe(model, whole, ("cross_attention",)).cross_attention
    for layer, path in zip(layers, PATHS["cross_attention"], strict=True):
        assert layer.shape == (3, 4 * 17, QUERIES)
        for head in range(4):
            for voter in range(17):
                ballot = layer.values[:, head * 17 + voter]
                assert torch.allclose(ballot, maps[path][:, head, :, voter], atol=1e-5)


@pytest.mark.parametrize("signal", ["self_attention", "encoder_attention"])
def test_the_candidates_of_self_attention_are_those_attended_to(model, whole, signal):
    maps = own_attention(model, whole)
    for layer, path in zip(getattr(tokprune.observe(model, whole, (signal,)), signal), PATHS[signal], strict=True):
        assert torch.allclose(layer.by_head, maps[path], atol=1e-5)
        assert torch.allclose(layer.values.sum(dim=-1), torch.ones(layer.shape[:2]), atol=1e-5)


def test_tokens_are_the_q_formers_outputs(model, whole):
    signal = tokprune.observe(model, whole)
    expected = model.get_image_features(whole["pixel_values"]).qformer_outputs.last_hidden_state
    assert torch.equal(signal.tokens, expected)
    assert signal.shape == (3, QUERIES)
    assert signal.offered == ("tokens",)


def test_text_is_each_images_own_prompt_without_images_and_padding(model, whole):
    text = tokprune.observe(model, whole, ("text",)).text
    words = model.get_input_embeddings()(whole["input_ids"])
    for image, row in enumerate([0, 1, 1]):
        real = (whole["attention_mask"][row] == 1) & (whole["input_ids"][row] >= 2) & (whole["input_ids"][row] != 5)
        assert torch.equal(text.mask[image], real)
        assert torch.equal(text.embeddings[image][real], words[row][real])


def test_observing_changes_nothing(model, inputs):
    before = traces(model), logits(model, inputs)
    tokprune.observe(model, {**inputs, **decoder(model, inputs)}, needs=(*PATHS, "tokens", "text"))
    assert traces(model) == before[0]
    assert torch.equal(logits(model, inputs), before[1])


def test_a_failed_forward_leaves_nothing_behind(model):
    before = traces(model)
    with pytest.raises(TypeError):
        tokprune.observe(model, {"no_such_argument": 1})
    assert traces(model) == before


def test_observing_a_pruned_model_sees_all_its_tokens(model, inputs):
    whole = {**inputs, **decoder(model, inputs)}
    plain = tokprune.observe(model, whole).tokens
    with tokprune.apply(model, keep=3) as handle:
        expected = logits(model, inputs)
        assert torch.equal(tokprune.observe(model, whole).tokens, plain)
        assert torch.equal(logits(model, inputs), expected)
        assert handle.report.counts.tolist() == [3, 3]
