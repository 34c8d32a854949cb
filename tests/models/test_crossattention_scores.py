"""What scorers get of models with cross-attention, against the probabilities that the models compute themselves."""

import pytest
import torch

import tokprune
from tokprune.testing import tiny_mllama
from tokprune.testing.tiny_crossattention import prompts, tiny_vision_encoder_decoder
from tokprune.testing.tiny_idefics import prompts as idefics_prompts

from .crossattention import INPUTS, attention_of, eager, tiny
from .families.crossattention import ANSWERS, BERT, CAPTIONS, GPT2, TROCR, WHISPER
from .families.idefics import LAYERS as IDEFICS
from .families.mllama import LAYERS as MLLAMA

CROSSING = {
    "captions": (CAPTIONS, 1),
    "answers": (ANSWERS, 1),
    "whisper": (WHISPER, 0),
    "pair": (GPT2, 1),
    "mllama": (MLLAMA, 1),
    "idefics": (IDEFICS, 1),
}
ENCODER = {
    "captions": ("vision_model.encoder.layers.{}.self_attn", 1),
    "whisper": ("model.encoder.layers.{}.self_attn", 0),
    "pair": ("encoder.layers.{}.attention", 1),
    "mllama": ("model.vision_model.transformer.layers.{}.self_attn", 1),
    "idefics": ("model.vision_model.encoder.layers.{}.self_attn", 1),
}


def text_mask(inputs):
    """Which text is real, bool `[row text]`."""
    mask = inputs.get("attention_mask", inputs.get("decoder_attention_mask"))
    return torch.ones_like(inputs["decoder_input_ids"]).bool() if mask is None else mask.bool()


@pytest.mark.parametrize("name", CROSSING)
def test_text_tokens_vote_by_their_cross_attention(name):
    model, inputs = eager(name), INPUTS[name]()
    paths, protected = CROSSING[name]
    signal = tokprune.observe(model, inputs, ["cross_attention"], after=2)
    assert len(signal.cross_attention) == 2
    real = text_mask(inputs)
    for votes, path in zip(signal.cross_attention, paths, strict=False):
        expected = attention_of(model, path, inputs)[..., protected:] * real[:, None, :, None]
        torch.testing.assert_close(votes.by_head, expected, atol=1e-5, rtol=1e-4)
        if votes.weights is not None:
            assert torch.equal(votes.weights, real.float().repeat(1, votes.heads))


@pytest.mark.parametrize("name", ENCODER)
def test_the_encoders_tokens_vote_by_their_self_attention(name):
    model, inputs = eager(name), INPUTS[name]()
    path, protected = ENCODER[name]
    signal = tokprune.observe(model, inputs, ["encoder_attention", "self_attention"])
    assert len(signal.encoder_attention) == 2
    for layer, votes in enumerate(signal.encoder_attention):
        expected = attention_of(model, path.format(layer), inputs)[..., protected:]
        if name == "mllama":  # 7 tokens of padding at the end vote for nobody and are no candidates
            expected = torch.cat([expected[:, :, :17, :16], torch.zeros(2, 4, 7, 16)], dim=2)
        torch.testing.assert_close(votes.by_head, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(signal.self_attention[layer].values, votes.values)


def test_text_padded_at_its_end_votes_as_if_padded_in_front():
    model, inputs = eager("captions"), prompts(pads=(0, 2))
    shifted = {**inputs, **{name: inputs[name].clone() for name in ("input_ids", "attention_mask")}}
    for name in ("input_ids", "attention_mask"):
        shifted[name][1] = inputs[name][1].roll(-2)
    expected = attention_of(model, CAPTIONS[0], shifted)[1, :, :4, 1:]
    votes = tokprune.observe(model, shifted, ["cross_attention"]).cross_attention[0]
    torch.testing.assert_close(votes.by_head[1, :, 2:], expected, atol=1e-5, rtol=1e-4)
    assert not votes.by_head[1, :, :2].any()
    assert votes.weights.view(2, 4, 6)[1].tolist() == [[0, 0, 1, 1, 1, 1]] * 4


@pytest.mark.parametrize(("decoder", "paths"), [("bert", BERT), ("trocr", TROCR), ("mbart", TROCR)])
def test_other_decoders_are_read_alike(decoder, paths):
    model = tiny_vision_encoder_decoder("vit", decoder, "eager")
    inputs = INPUTS["pair"]()
    votes = tokprune.observe(model, inputs, ["cross_attention"]).cross_attention[0]
    found = []
    with_weights = model.get_submodule(paths[0]).register_forward_hook(lambda _, args, output: found.append(output[1]))
    with torch.no_grad():
        model(**inputs, output_attentions=True)
    with_weights.remove()
    expected = found[0][..., 1:] * text_mask(inputs)[:, None, :, None]
    torch.testing.assert_close(votes.by_head, expected, atol=1e-5, rtol=1e-4)


def some_tiles():
    """A row with words in front of two images of two tiles, and one with an image whose second tile is padding."""
    inputs = INPUTS["tiles"]()
    inputs["cross_attention_mask"][0, :2] = 0  # the first words see nothing
    return inputs


def test_each_tile_is_voted_for_by_the_text_that_sees_it():
    model, inputs = eager("tiles"), some_tiles()
    votes = tokprune.observe(model, inputs, ["cross_attention"]).cross_attention[0]
    assert votes.shape == (2 * 2 * 2, 4 * 6, 16)  # rows, images and tiles; heads and text; tokens
    attention = attention_of(model, MLLAMA[0], inputs)
    real = inputs["attention_mask"].bool()
    for row in range(2):
        for image in range(2):
            for tile in range(2):
                sees = inputs["cross_attention_mask"][row, :, image, tile].bool() & real[row]
                begin, unit = (image * 2 + tile) * 17 + 1, (row * 2 + image) * 2 + tile
                expected = attention[row, :, :, begin : begin + 16] * sees[:, None]
                torch.testing.assert_close(votes.by_head[unit], expected, atol=1e-5, rtol=1e-4)
                assert torch.equal(votes.weights[unit], sees.float().repeat(4))


def test_each_tile_is_voted_for_by_the_tokens_of_its_image():
    model, inputs = eager("tiles"), some_tiles()
    votes = tokprune.observe(model, inputs, ["encoder_attention"]).encoder_attention[1]
    attention = attention_of(model, "model.vision_model.transformer.layers.1.self_attn", inputs)  # images, 48 tokens
    for image in range(4):
        for tile in range(2):
            begin, other = tile * 24, (1 - tile) * 24
            voters = [*range(begin, begin + 17), *range(other, other + 17)]
            real = [bool(inputs["aspect_ratio_mask"].flatten(0, 1)[image, t]) for t in (tile, 1 - tile)]
            expected = attention[image][:, voters, begin + 1 : begin + 17]
            expected = expected * torch.tensor([real[0]] * 17 + [real[1]] * 17)[:, None]
            found = votes.by_head[image * 2 + tile]
            # Who votes stands where the tile's own tokens are in front; padding behind each tile votes for nobody.
            places = [*range(17), *range(24, 41)] if tile == 0 else [*range(17), *range(17, 34)]
            torch.testing.assert_close(found[:, places], expected, atol=1e-5, rtol=1e-4)
            assert votes.weights[image * 2 + tile].sum() == 4 * 17 * sum(real)


def test_images_of_a_row_are_voted_for_apart():
    model, inputs = eager("idefics"), idefics_prompts(images=(2, 1))
    votes = tokprune.observe(model, inputs, ["cross_attention"]).cross_attention[0]
    attention = attention_of(model, IDEFICS[0], inputs)
    for row in range(2):
        for image in range(2):
            sees = inputs["image_attention_mask"][row, :, image].bool() & inputs["attention_mask"][row].bool()
            expected = attention[row, :, :, image * 17 + 1 : image * 17 + 17] * sees[:, None]
            torch.testing.assert_close(votes.by_head[row * 2 + image], expected, atol=1e-5, rtol=1e-4)
            assert torch.equal(votes.weights[row * 2 + image], sees.float().repeat(4))


def test_cls_votes_first():
    model, inputs = eager("tiles"), tiny_mllama.prompts(tiles=2)
    votes = tokprune.observe(model, inputs, ["encoder_attention"]).encoder_attention[0]
    attention = attention_of(model, "model.vision_model.transformer.layers.0.self_attn", inputs)
    torch.testing.assert_close(votes.of_voters(0, 1).values[1], attention[0, :, 24, 25:41], atol=1e-5, rtol=1e-4)


def test_tokens_and_grid_are_the_encoders():
    for name, encoder in {"captions": "vision_model", "idefics": "model.vision_model"}.items():
        model, inputs = tiny(name), INPUTS[name]()
        pixels = inputs["pixel_values"]
        with torch.no_grad():
            hidden = model.get_submodule(encoder)(pixels.flatten(0, -4)).last_hidden_state
        for after in (None, 1):
            signal = tokprune.observe(model, inputs, ["tokens", "grid"], after=after)
            assert torch.equal(signal.tokens, hidden[:, 1:])
            assert signal.grid == (4, 4)
