"""Costs of a call: against arithmetic written out by hand, and against real calls with torch's counter looking on."""

import functools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import tokprune
from tokprune.bench.arithmetic import Arithmetic
from tokprune.bench.costs import Workload
from tokprune.bench.randomweights import random_model
from tokprune.bench.sizes import real_size_config
from tokprune.errors import AdapterError, InvalidValueError

WIDTH, LAYERS, QUERIES, IMAGE, PATCHES, PATCH_VALUES = 32, 2, 8, 65, 64, 3 * 8 * 8
WORK = Workload(text_tokens=5, answer_tokens=4)
SIZES = ("blip2-opt-2.7b", "blip2-flan-t5-xl", "instructblip-vicuna-7b")


@functools.cache
def arithmetic_of(model):
    """One for each model: counted sizes are remembered."""
    return Arithmetic(model)


def block(tokens, ff, keys=None, width=WIDTH):
    """Self-attention and feed-forward of one layer; a multiply-add counts two."""
    attention = 2 * 2 * tokens * (keys or tokens) * width
    return 4 * 2 * tokens * width * width + attention + 2 * 2 * tokens * width * ff


def cross(queries, keys, projected=True):
    """Cross-attention, with or without the projection of keys and values."""
    projections = 2 * 2 * queries * WIDTH**2 + (2 * 2 * keys * WIDTH**2 if projected else 0)
    return projections + 2 * 2 * queries * keys * WIDTH


def flops(runs):
    return [run.flops for run in runs]


def test_image_encoder_and_connector(model):
    costs = arithmetic_of(model).count(WORK)
    assert costs.flops["image encoder"] == 2 * PATCHES * PATCH_VALUES * WIDTH + LAYERS * block(IMAGE, 4 * WIDTH)
    layer = block(QUERIES, 4 * WIDTH) + cross(QUERIES, IMAGE)
    text = model.config.text_config.hidden_size
    assert costs.flops["connector"] == LAYERS * layer + 2 * QUERIES * WIDTH * text


@pytest.mark.parametrize("kept", [2, 8])
def test_opt_reads_the_prompt_once_and_writes_token_by_token(opt, kept):
    prompt, head = kept + 5, 2 * WIDTH * opt.config.text_config.vocab_size
    costs = arithmetic_of(opt).count(WORK, query_keep=kept)
    assert flops(costs.prefill) == [LAYERS * block(prompt, 4 * WIDTH) + head]
    assert flops(costs.decode) == [LAYERS * block(1, 4 * WIDTH, keys=prompt + step) + head for step in (1, 2, 3)]
    assert [run.cache for run in costs.decode] == [LAYERS * 2 * (prompt + step) * WIDTH for step in (1, 2, 3)]


@pytest.mark.parametrize("kept", [2, 8])
def test_t5_reads_in_its_encoder_and_writes_in_its_decoder(t5, kept):
    prompt, head = kept + 5, 2 * WIDTH * t5.config.text_config.vocab_size
    costs = arithmetic_of(t5).count(WORK, query_keep=kept)
    first = LAYERS * (block(1, 64) + cross(1, prompt)) + head
    assert flops(costs.prefill) == [LAYERS * block(prompt, 64), first]
    steps = [LAYERS * (block(1, 64, keys=1 + step) + cross(1, prompt, projected=False)) + head for step in (1, 2, 3)]
    assert flops(costs.decode) == steps
    assert [run.cache for run in costs.decode] == [LAYERS * 2 * (prompt + 1 + step) * WIDTH for step in (1, 2, 3)]


def test_weights_that_are_read(opt):
    def size(module, without=()):
        return sum(p.numel() for name, p in module.named_parameters() if not name.endswith(without))

    costs = arithmetic_of(opt).count(WORK)
    assert [run.weights for run in costs.encoder] == [size(opt.vision_model)]
    assert [run.weights for run in costs.connector] == [size(opt.qformer) + size(opt.language_projection)]
    tables = ("embed_tokens.weight", "embed_positions.weight")  # looked up, not read
    assert {run.weights for run in (*costs.prefill, *costs.decode)} == {size(opt.language_model, tables)}


def test_t5_does_not_read_what_its_cache_holds(t5):
    (reading, first), (later, *_) = (costs := arithmetic_of(t5).count(WORK)).prefill, costs.decode
    assert first.weights - later.weights == LAYERS * 2 * WIDTH**2  # keys and values of cross-attention
    assert first.cache == reading.cache == 0


def test_an_answer_of_one_token_is_all_prefill(model):
    assert arithmetic_of(model).count(Workload(5, 1)).decode == ()


def test_beams_multiply_the_prefill_of_opt_and_only_the_decoder_of_t5(opt, t5):
    greedy, beams = (arithmetic_of(opt).count(Workload(5, 4, beams)) for beams in (1, 3))
    assert beams.flops["prefill"] == 3 * greedy.flops["prefill"]
    greedy, beams = (arithmetic_of(t5).count(Workload(5, 4, beams)) for beams in (1, 3))
    assert flops(beams.prefill) == [greedy.prefill[0].flops, 3 * greedy.prefill[1].flops]
    assert [run.cache for run in beams.decode] == [3 * run.cache for run in greedy.decode]
    assert [run.weights for run in beams.decode] == [run.weights for run in greedy.decode]


@pytest.mark.parametrize(
    ("after", "first", "second", "out"), [(1, 65, 17, 17), (2, 65, 65, 17), ((1, 2), 65, 41, 17), ("every", 65, 41, 17)]
)
def test_image_tokens_that_left_cost_nothing(model, after, first, second, out):
    costs = arithmetic_of(model).count(WORK, image_keep=0.25, after=after)
    layers = block(first, 4 * WIDTH) + block(second, 4 * WIDTH)
    assert costs.flops["image encoder"] == 2 * PATCHES * PATCH_VALUES * WIDTH + layers
    saved = arithmetic_of(model).count(WORK).flops["connector"] - costs.flops["connector"]
    assert saved == LAYERS * (cross(QUERIES, IMAGE) - cross(QUERIES, out))


def test_the_implementation_of_attention_makes_no_difference(opt):
    counted = []
    for attention in ("eager", "sdpa"):
        opt.set_attn_implementation(attention)
        counted.append(Arithmetic(opt).count(WORK))
    assert counted[0] == counted[1]


def test_the_model_is_only_looked_at(opt):
    before = {name: value.clone() for name, value in opt.state_dict().items()}
    opt.set_attn_implementation("sdpa")
    Arithmetic(opt).count(WORK)
    parts = (opt, opt.vision_model, opt.qformer, opt.language_model)
    assert [part.config._attn_implementation for part in parts] == ["sdpa"] * 4
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in opt.modules())
    assert all(torch.equal(value, before[name]) for name, value in opt.state_dict().items())


@pytest.fixture(scope="module", params=SIZES)
def small(request):
    """A published architecture, narrow and 3 to 4 layers deep, with random weights."""
    return random_model(real_size_config(f"{request.param}:scale=0.1"), attention="eager")


def counted_call(model, work, batch=1):
    """FLOPs of a real `generate` call."""
    ids = torch.full((batch, 32 + work.text_tokens), 7)
    ids[:, :32] = model.config.image_token_id
    inputs = {"pixel_values": torch.zeros(batch, 3, 224, 224), "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.model_type == "instructblip":
        inputs["qformer_input_ids"] = torch.full((batch, work.text_tokens), 7)
    length = {"max_new_tokens": work.answer_tokens, "min_new_tokens": work.answer_tokens}
    with FlopCounterMode(display=False) as counter:
        model.generate(**inputs, **length, do_sample=False, num_beams=work.beams)
    return counter.get_total_flops()


@pytest.mark.parametrize(("batch", "beams"), [(1, 1), (2, 3)])
def test_a_real_call_costs_just_that(small, batch, beams):
    work = Workload(text_tokens=6, answer_tokens=5, beams=beams)
    assert counted_call(small, work, batch) == batch * arithmetic_of(small).count(work).total


IMAGE_POLICY = tokprune.Policy("first", keep=0.25, target="image")
QUERY_POLICY = tokprune.Policy("first", keep=0.5)


@pytest.mark.parametrize(
    "policies",
    [
        [QUERY_POLICY],
        [IMAGE_POLICY],
        [IMAGE_POLICY, QUERY_POLICY],
        [tokprune.Policy("first", keep=100, target="image", after=(1, 3))],
        [tokprune.Policy("first", keep=0.25, target="image", after="every"), QUERY_POLICY],
        [tokprune.Policy("first", keep=0.5, reduction="mask")],
    ],
    ids=["query", "image", "both", "two steps", "every layer", "mask"],
)
@pytest.mark.parametrize("small", SIZES[:2], indirect=True)
def test_a_real_pruned_call_costs_just_that(small, policies):
    work = Workload(text_tokens=6, answer_tokens=3)
    with tokprune.apply(small, policies):
        assert counted_call(small, work) == arithmetic_of(small).of(work, policies).total


def test_one_policy_needs_no_list(opt):
    arithmetic = arithmetic_of(opt)
    assert arithmetic.of(WORK, QUERY_POLICY) == arithmetic.of(WORK, [QUERY_POLICY]) != arithmetic.count(WORK)


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ([QUERY_POLICY, QUERY_POLICY], "got two for 'query'"),
        ([tokprune.Policy(target="audio")], "got one for 'audio'"),
        ([tokprune.Policy(selector="top-p")], "keeps a different number of tokens of every image"),
    ],
)
def test_policies_that_cannot_be_counted_are_refused(opt, policies, message):
    with pytest.raises(InvalidValueError, match=message):
        arithmetic_of(opt).of(WORK, policies)


@pytest.mark.parametrize("call", [{"query_keep": 9}, {"image_keep": 0.0}, {"image_keep": 0.5, "after": 3}])
def test_more_than_there_is_is_refused(opt, call):
    with pytest.raises(InvalidValueError):
        arithmetic_of(opt).count(WORK, **call)


def test_other_models_are_refused(opt):
    with pytest.raises(AdapterError, match=r"expected Blip2ForConditionalGeneration or .* got Linear"):
        Arithmetic(torch.nn.Linear(1, 1))
    with pytest.raises(AdapterError, match="neither wrapped nor compiled"):
        Arithmetic(torch.compile(opt))


def test_other_language_models_are_refused(opt, monkeypatch):
    monkeypatch.setattr(opt.config.text_config, "model_type", "mamba")
    with pytest.raises(AdapterError, match="expected a language model of type opt, llama, t5, got 'mamba'"):
        Arithmetic(opt)
