"""What users hand over instead of the model: wrappers around it, and parts of it."""

import pytest
import torch
from torch import nn

import tokprune
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.testing.tiny_blip2 import tiny_blip2
from tokprune.testing.tiny_crossattention import tiny_whisper
from tokprune.testing.tiny_embed import pixels, prompts, tiny_llava
from tokprune.testing.tiny_qwen import tiny_qwen2_5_vl

from .traces import traces


@pytest.fixture(scope="module")
def inputs():
    return prompts([[16], [16]], pixels(2))


def low_rank(model):
    """A PEFT model."""
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], r=2))


@pytest.fixture
def distributed(tmp_path):
    """DistributedDataParallel, in a world of one process."""
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    yield nn.parallel.DistributedDataParallel
    torch.distributed.destroy_process_group()


def assert_pruned_through(wrapped, inner, inputs):
    """A policy on the wrapper sits on the model inside, and prunes calls of the wrapper."""
    before = traces(inner)
    with tokprune.apply(wrapped, keep=4) as handle:
        assert handle.model is inner
        assert tokprune.handles_of(wrapped) == [handle]
        with torch.no_grad():
            wrapped(**inputs)
        assert handle.report.counts.tolist() == [4, 4]
        assert handle.report.length_after < handle.report.length_before
    assert traces(inner) == before


def test_a_peft_model_is_pruned_inside(inputs):
    wrapped = low_rank(tiny_llava())
    inner = wrapped.get_base_model()
    assert_pruned_through(wrapped, inner, inputs)
    with tokprune.apply(wrapped, keep=4) as handle:
        wrapped.generate(**inputs, max_new_tokens=2)
    assert handle.report.counts.tolist() == [4, 4]
    assert tokprune.observe(wrapped, inputs, needs=("tokens",)).token_count == 16


def test_a_data_parallel_model_is_pruned_inside_and_so_is_a_peft_model_in_it(inputs, distributed):
    inner = tiny_llava()
    assert_pruned_through(distributed(inner), inner, inputs)
    wrapped = low_rank(tiny_llava())
    assert_pruned_through(distributed(wrapped), wrapped.get_base_model(), inputs)


@pytest.mark.parametrize(("wrap", "path"), [(nn.DataParallel, "module"), (lambda model: nn.Sequential(model), "0")])
def test_of_other_wrappers_the_module_to_apply_to_is_named(wrap, path):
    message = rf"Apply to the module at '{path}', a LlavaForConditionalGeneration, which adapter 'llava' knows"
    with pytest.raises(AdapterError, match=message):
        tokprune.apply(wrap(tiny_llava()))


@pytest.mark.parametrize(
    ("build", "path", "whole"),
    [
        (tiny_llava, "model", "LlavaForConditionalGeneration"),
        (tiny_qwen2_5_vl, "model.visual", "Qwen2_5_VLForConditionalGeneration"),
        (tiny_blip2, "qformer", "Blip2ForConditionalGeneration or Blip2Model"),
        (tiny_whisper, "model.encoder", "WhisperForConditionalGeneration"),
    ],
)
def test_of_a_part_the_whole_is_named(build, path, whole):
    part = build().get_submodule(path)
    with pytest.raises(AdapterError, match=rf"A {type(part).__name__} is a part of a {whole}; apply to the whole mode"):
        tokprune.apply(part)


def test_of_a_language_model_it_is_said_that_it_may_be_a_part():
    with pytest.raises(
        AdapterError, match=r"no adapter knows .*LlamaModel. If it is a part of a larger model, apply to th"
    ):
        tokprune.apply(tiny_llava().model.language_model)


def test_an_image_encoder_alone_is_pruned_but_not_as_a_part_of_a_model_with_placeholders(inputs):
    model = tiny_llava()
    with torch.no_grad():
        before = model(**inputs).logits
    with tokprune.apply(model.model.vision_tower, scorer="first", keep=4) as handle:
        with pytest.raises(
            UnsupportedCallError, match="CLIPVisionModel is a part of a LlavaForConditionalGeneration here"
        ):
            model(**inputs)
        with pytest.raises(UnsupportedCallError, match=r"tokprune\.apply on the whole LlavaForConditionalGeneration"):
            model.generate(**inputs, max_new_tokens=2)
        model.model.vision_tower(pixel_values=inputs["pixel_values"])
        assert handle.report.counts.tolist() == [4, 4]
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, before)
