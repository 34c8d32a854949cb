from fractions import Fraction

import pytest

from tokprune.bench.sizes import REAL_SIZES, parse_size, real_size_config
from tokprune.bench.weightless import weightless
from tokprune.errors import InvalidValueError, UnknownNameError

EVA_G = 985_952_256
Q_FORMER = 105_137_664
T5_HEAD = 32_128 * 2_048
"""Flan-T5's output matrix, which transformers ties to the embeddings unless a checkpoint brings one."""

PUBLISHED = {
    "blip2-opt-2.7b": 3_744_761_856,
    "blip2-flan-t5-xl": 3_942_446_592 - T5_HEAD,
    "instructblip-vicuna-7b": 7_913_209_856,
    "llava-1.5-7b": 7_063_427_072,
    "qwen2.5-vl-7b": 8_292_166_656,
    "llama-3.2-11b-vision": 10_670_220_835,
}
"""Parameters of the checkpoints on the hub."""

LANGUAGE_MODELS = {
    "blip2-opt-2.7b": 2_651_596_800 + (50_304 - 50_272) * 2_560,  # facebook/opt-2.7b, and 32 words more
    "blip2-flan-t5-xl": 2_849_757_184 - T5_HEAD,  # google/flan-t5-xl
    "instructblip-vicuna-7b": 6_738_415_616 + 2 * 4_096,  # lmsys/vicuna-7b, and one word more, in and out
}


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", REAL_SIZES)
def test_a_real_size_has_as_many_parameters_as_was_published(name):
    model = weightless(real_size_config(name), "sdpa", buffers=True)
    assert parameters(model) == PUBLISHED[name]
    if name not in LANGUAGE_MODELS:
        return
    assert parameters(model.language_model) == LANGUAGE_MODELS[name]
    assert parameters(model.vision_model) == EVA_G
    if name.startswith("blip2"):
        assert parameters(model.qformer) == Q_FORMER


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_real_size_has_the_shape_that_was_published(name):
    config = real_size_config(name)
    vision, qformer = config.vision_config, config.qformer_config
    assert (vision.num_hidden_layers, vision.hidden_size, vision.image_size, vision.patch_size) == (39, 1408, 224, 14)
    assert (qformer.num_hidden_layers, qformer.hidden_size, qformer.cross_attention_frequency) == (12, 768, 2)
    assert config.num_query_tokens == 32
    text = config.text_config
    depth, width = {"opt": (32, 2560), "t5": (24, 2048), "llama": (32, 4096)}[text.model_type]
    assert (text.num_hidden_layers, text.hidden_size) == (depth, width)
    assert config.image_token_id < text.vocab_size


def test_a_scale_makes_a_size_narrower_and_shallower_and_leaves_its_tokens():
    config = real_size_config("blip2-opt-2.7b:scale=1/4")
    assert (config.vision_config.num_hidden_layers, config.vision_config.hidden_size) == (10, 352)
    assert (config.qformer_config.num_hidden_layers, config.qformer_config.hidden_size) == (3, 192)
    assert (config.text_config.num_hidden_layers, config.text_config.hidden_size) == (8, 640)
    assert config.vision_config.image_size == 224
    assert config.num_query_tokens == 32
    assert config.text_config.vocab_size == 50_304


def test_a_size_as_it_is_typed():
    assert parse_size("blip2-flan-t5-xl") == ("blip2-flan-t5-xl", Fraction(1))
    assert parse_size("blip2-flan-t5-xl:scale=0.1") == ("blip2-flan-t5-xl", Fraction(1, 10))
    with pytest.raises(UnknownNameError, match=r"did you mean 'blip2-opt-2\.7b'"):
        parse_size("blip2-opt-2.7")
    for wrong in ("scale=2", "scale=0", "scale=half", "scale=1/0", "size=1", ""):
        with pytest.raises(InvalidValueError, match=r"a number in \(0, 1\]"):
            parse_size(f"blip2-opt-2.7b:{wrong}")


def test_the_shape_of_llava_was_published():
    config = real_size_config("llava-1.5-7b")
    vision, text = config.vision_config, config.text_config
    assert (vision.num_hidden_layers, vision.hidden_size, vision.image_size, vision.patch_size) == (24, 1024, 336, 14)
    assert (text.num_hidden_layers, text.hidden_size, text.num_attention_heads) == (32, 4096, 32)
    assert config.image_seq_length == (336 // 14) ** 2 == 576
    assert (config.vision_feature_layer, config.vision_feature_select_strategy) == (-2, "default")


def test_the_shape_of_qwen_was_published():
    config = real_size_config("qwen2.5-vl-7b")
    vision, text = config.vision_config, config.text_config
    assert (vision.depth, vision.hidden_size, vision.fullatt_block_indexes) == (32, 1280, [7, 15, 23, 31])
    assert (vision.out_hidden_size, vision.window_size, vision.spatial_merge_size) == (3584, 112, 2)
    assert (text.num_hidden_layers, text.num_attention_heads, text.num_key_value_heads) == (28, 28, 4)


def test_the_shape_of_mllama_was_published():
    config = real_size_config("llama-3.2-11b-vision")
    vision, text = config.vision_config, config.text_config
    assert (vision.num_hidden_layers, vision.num_global_layers, vision.hidden_size) == (32, 8, 1280)
    assert (vision.intermediate_layers_indices, vision.vision_output_dim) == ([3, 7, 15, 23, 30], 7680)
    assert 4 * ((vision.image_size // vision.patch_size) ** 2 + 1) == 6404
    assert text.cross_attention_layers == [3, 8, 13, 18, 23, 28, 33, 38]
    assert (text.num_hidden_layers, text.num_attention_heads, text.num_key_value_heads) == (40, 32, 8)


@pytest.mark.parametrize("scale", ["1/64", "1/24", "1/7", "0.6"])
@pytest.mark.parametrize("name", ["llava-1.5-7b", "qwen2.5-vl-7b", "llama-3.2-11b-vision"])
def test_every_scale_is_a_model_with_the_same_tokens(name, scale):
    whole, small = real_size_config(name), real_size_config(f"{name}:scale={scale}")
    model = weightless(small, "sdpa")
    assert parameters(model) < PUBLISHED[name]
    text = small.text_config
    assert text.num_attention_heads % text.num_key_value_heads == 0
    assert text.vocab_size == whole.text_config.vocab_size
    for part in ("image_size", "patch_size", "spatial_merge_size", "max_num_tiles"):
        assert getattr(small.vision_config, part, None) == getattr(whole.vision_config, part, None)
