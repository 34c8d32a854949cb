import copy

import pytest
import torch

from tokprune.bench.randominputs import random_inputs
from tokprune.bench.randomweights import random_model
from tokprune.bench.sizes import real_size_config
from tokprune.bench.weightless import weightless
from tokprune.errors import InvalidValueError


def test_a_prompt_is_placeholders_and_words_that_mean_nothing_special(opt):
    inputs = random_inputs(opt, 3, prompt_tokens=5)
    config = opt.config
    ids = inputs["input_ids"]
    assert ids.shape == (3, config.num_query_tokens + 5)
    assert (ids[:, : config.num_query_tokens] == config.image_token_id).all()
    special = {config.image_token_id, *(getattr(config.text_config, f"{n}_token_id") for n in ("pad", "bos", "eos"))}
    assert not special & set(ids[:, config.num_query_tokens :].flatten().tolist())
    assert inputs["attention_mask"].all()
    assert inputs["pixel_values"].shape == (3, 3, 64, 64)


def test_every_sample_and_every_seed_differs_and_a_seed_repeats(opt):
    one, again, other = (random_inputs(opt, 2, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    for name in ("pixel_values", "input_ids"):
        assert not torch.equal(one[name], other[name])
        assert not torch.equal(one[name][0], one[name][1])


def test_pictures_have_the_encoders_dtype_and_instructblip_reads_the_prompt_twice():
    model = random_model(real_size_config("instructblip-vicuna-7b:scale=0.04"), dtype="bfloat16")
    inputs = random_inputs(model, 2, prompt_tokens=4)
    assert inputs["pixel_values"].dtype == torch.bfloat16
    assert inputs["pixel_values"].shape[-2:] == (224, 224)
    assert inputs["qformer_input_ids"].shape == (2, 4)
    assert inputs["qformer_input_ids"].max() < model.config.qformer_config.vocab_size


def test_pictures_that_are_not_square():
    config = real_size_config("blip2-opt-2.7b:scale=0.05")
    model = weightless(config, "sdpa", buffers=True)
    model.config.vision_config.image_size = (28, 42)
    assert random_inputs(model, 1)["pixel_values"].shape == (1, 3, 28, 42)


def test_a_configuration_without_a_placeholder_is_named(opt):
    old = copy.deepcopy(opt)
    old.config.image_token_index = None
    with pytest.raises(InvalidValueError, match=r"placeholder .*image_token_index"):
        random_inputs(old, 1)


@pytest.mark.parametrize(("batch", "words", "name"), [(0, 1, "batch size"), (1, 0, "prompt tokens")])
def test_nothing_is_no_input(opt, batch, words, name):
    with pytest.raises(InvalidValueError, match=f"{name}: expected at least 1, got 0"):
        random_inputs(opt, batch, words)


@pytest.mark.parametrize(
    ("size", "front", "pixels"),
    [
        ("llava-1.5-7b", 576, (2, 3, 336, 336)),
        ("qwen2.5-vl-7b", 1280, (2 * 5120, 1176)),
        ("llama-3.2-11b-vision", 1, (2, 1, 4, 3, 560, 560)),
    ],
)
def test_each_family_gets_its_pictures_and_as_many_placeholders_as_it_has_tokens(size, front, pixels):
    model = random_model(real_size_config(f"{size}:scale=1/64"))
    inputs = random_inputs(model, 2, prompt_tokens=5)
    ids = inputs["input_ids"]
    assert inputs["pixel_values"].shape == pixels
    assert ((ids == model.config.image_token_id).sum(1) == front).all()
    if size.startswith("qwen"):
        assert (ids[:, 0] == model.config.vision_start_token_id).all()
        assert (inputs["mm_token_type_ids"].sum(1) == front).all()
        assert (inputs["image_grid_thw"].prod(1) == 4 * front).all()
    if size.startswith("llama"):
        assert inputs["cross_attention_mask"].shape == (2, 6, 1, 4)
        shape = inputs["aspect_ratio_ids"][0, 0] - 1
        assert model.config.vision_config.supported_aspect_ratios[shape] == [2, 2]
