"""Costs of LLaVA, Qwen-VL and Mllama: real calls with torch's counter looking on cost just that."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import tokprune
from tokprune.bench import randominputs
from tokprune.bench.costs import Workload
from tokprune.bench.promptarithmetic import PromptArithmetic
from tokprune.bench.randominputs import random_inputs
from tokprune.bench.randomweights import random_model
from tokprune.bench.sizes import real_size_config
from tokprune.errors import AdapterError, InvalidValueError
from tokprune.testing import tiny_inside, tiny_mllama, tiny_qwen
from tokprune.testing.tiny_embed import tiny_llava


@pytest.fixture(scope="module")
def small():
    return random_model(real_size_config("llava-1.5-7b:scale=0.1"), attention="eager")


def counted_call(model, work, batch=1):
    inputs = random_inputs(model, batch, work.text_tokens)
    length = {"max_new_tokens": work.answer_tokens, "min_new_tokens": work.answer_tokens}
    with FlopCounterMode(display=False) as counter:
        model.generate(**inputs, **length, do_sample=False, num_beams=work.beams)
    return counter.get_total_flops()


@pytest.mark.parametrize(("batch", "beams"), [(1, 1), (2, 2)])
def test_a_real_call_costs_just_that(small, batch, beams):
    work = Workload(text_tokens=6, answer_tokens=4, beams=beams)
    assert counted_call(small, work, batch) == batch * PromptArithmetic(small).count(work).total


@pytest.mark.parametrize("keep", [0.25, 100])
def test_a_real_pruned_call_costs_just_that(small, keep):
    work = Workload(text_tokens=6, answer_tokens=3)
    arithmetic = PromptArithmetic(small)
    with tokprune.apply(small, scorer="first", keep=keep):
        assert counted_call(small, work) == arithmetic.count(work, image_keep=keep).total
    assert arithmetic.count(work, image_keep=keep).total < arithmetic.count(work).total


QWEN = [tiny_qwen.tiny_qwen2_vl, tiny_qwen.tiny_qwen2_5_vl, tiny_qwen.tiny_qwen3_vl]


@pytest.mark.parametrize("make", QWEN)
def test_a_call_of_a_qwen_costs_just_that(make, monkeypatch):
    monkeypatch.setattr(randominputs, "QWEN_PATCHES", (8, 14))  # the last column of windows is narrower
    model, work = make(attention="eager"), Workload(text_tokens=6, answer_tokens=3)
    arithmetic = PromptArithmetic(model)
    assert arithmetic.tokens == {"image": 28}
    assert counted_call(model, work) == arithmetic.count(work).total
    with tokprune.apply(model, scorer="first", keep=5):
        assert counted_call(model, work) == arithmetic.count(work, image_keep=5).total


def test_a_call_of_an_mllama_costs_just_that():
    model = random_model(_four_tiles(tiny_mllama.tiny_mllama().config), attention="eager")
    work = Workload(text_tokens=6, answer_tokens=3)
    arithmetic = PromptArithmetic(model)
    assert (arithmetic.tokens, arithmetic.tiles) == ({"image": 16}, 4)
    assert counted_call(model, work) == arithmetic.count(work).total
    with tokprune.apply(model, scorer="first", keep=5):
        assert counted_call(model, work) == arithmetic.count(work, image_keep=5).total


def _four_tiles(config):
    """The configuration of a tiny Mllama with pictures of two by two tiles."""
    config.vision_config.max_num_tiles = 4
    config.vision_config.supported_aspect_ratios = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
    return config


@pytest.mark.parametrize(("after", "layers"), [(1, 1), (0.75, 3)])
def test_a_call_pruned_inside_costs_just_that(after, layers):
    model, work = tiny_inside.tiny_inside(attention="eager"), Workload(text_tokens=6, answer_tokens=3)
    arithmetic = PromptArithmetic(model)
    assert arithmetic.cuts(after) == (layers,)
    pruned = arithmetic.count(work, image_keep=5, after=after).total
    with tokprune.apply(model, scorer="first", keep=5, after=after):
        assert counted_call(model, work) == pruned
    assert arithmetic.count(work, image_keep=5).total < pruned < arithmetic.count(work).total


def test_a_place_that_a_model_does_not_have_is_refused():
    with pytest.raises(InvalidValueError, match="after one layer"):
        PromptArithmetic(tiny_inside.tiny_inside()).cuts((1, 2))
    with pytest.raises(InvalidValueError, match="in front of the language model only"):
        PromptArithmetic(tiny_qwen.tiny_qwen2_vl()).count(image_keep=5, after=1)


def test_what_is_not_known_is_refused(small):
    with pytest.raises(AdapterError, match=r"expected LlavaForConditionalGeneration or .* got Linear"):
        PromptArithmetic(torch.nn.Linear(1, 1))
    with pytest.raises(InvalidValueError, match="has no query tokens"):
        PromptArithmetic(small).count(query_keep=0.5)


def test_image_tokens_are_counted_by_the_encoder_not_by_what_the_processor_is_told():
    model = tiny_llava()
    assert model.config.image_seq_length == 576
    assert PromptArithmetic(model).tokens == {"image": 16}
