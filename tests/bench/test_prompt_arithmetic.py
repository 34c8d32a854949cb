"""Costs of a LLaVA: real calls with torch's counter looking on, unpruned and pruned, cost just that."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import tokprune
from tokprune.bench.costs import Workload
from tokprune.bench.promptarithmetic import PromptArithmetic
from tokprune.bench.randominputs import random_inputs
from tokprune.bench.randomweights import random_model
from tokprune.bench.sizes import real_size_config
from tokprune.errors import AdapterError, InvalidValueError
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


def test_what_is_not_known_is_refused(small):
    with pytest.raises(AdapterError, match=r"expected LlavaForConditionalGeneration .* got Linear"):
        PromptArithmetic(torch.nn.Linear(1, 1))
    with pytest.raises(InvalidValueError, match="has no query tokens"):
        PromptArithmetic(small).count(query_keep=0.5)


def test_image_tokens_are_counted_by_the_encoder_not_by_what_the_processor_is_told():
    model = tiny_llava()
    assert model.config.image_seq_length == 576
    assert PromptArithmetic(model).tokens == {"image": 16}
