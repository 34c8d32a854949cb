"""Inside the language model: what cannot be done is refused before anything is wrong, in words that help."""

import copy
from contextlib import contextmanager

import pytest
import torch
import transformers
from transformers.modeling_layers import GradientCheckpointingLayer

import tokprune
from tokprune import AdapterError, InvalidValueError, UnsupportedCallError
from tokprune.adapters.decoder.cut import DecoderCut
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.upstream import cache_of, encodes_before_expanding
from tokprune.testing.tiny_inside import IMAGE, prompts, shaped, tiny_inside

from .calls import CACHE
from .inside import Inside, built, generate, logits, pruned
from .test_adapter_errors import NeedsGrid
from .traces import traces

POLICIES = {
    "several points and no fixed number": (
        {"after": (1, 2), "selector": "top-p"},
        AdapterError,
        "at 2 pruning points equal numbers of tokens leave.*such as 'top-k'",
    ),
    "several points and nothing removed": (
        {"after": (1, 2), "reduction": "mask"},
        AdapterError,
        "at 2 pruning points equal numbers of tokens leave.*a reduction that removes tokens",
    ),
    "every layer": ({"after": "every"}, AdapterError, "after the last of 4 layers nothing is left to save"),
    "the last layer": ({"after": 4}, AdapterError, "after the last of 4 layers nothing is left to save"),
    "too deep": ({"after": 5}, InvalidValueError, "there are 4 layers"),
    "the encoder's votes": (
        {"scorer": "received-attention", "after": 2},
        AdapterError,
        "needs 'encoder_attention'; .* offers 'tokens', 'cross_attention', 'text'.* Without after=2 it fits",
    ),
    "grid": ({"scorer": NeedsGrid(), "after": 2}, AdapterError, "needs 'grid'; .* Without after=2 it fits"),
    "a layer behind the cut": ({"scorer": "text-attention:layers=[2]"}, InvalidValueError, "there are 2 layers"),
}


@pytest.mark.parametrize("case", POLICIES)
def test_a_policy_is_refused_before_anything_changes(case):
    options, error, message = POLICIES[case]
    model = built()
    before = traces(model)
    with pytest.raises(error, match=message):
        tokprune.apply(model, **{"scorer": "text-attention", "keep": 4, **options})
    assert traces(model) == before


def chunked():
    model = tiny_inside("qwen2")
    model.model.language_model.config.layer_types = ["full_attention", "chunked_attention"] * 2
    return model


def unknown():
    model = tiny_inside()
    model.model.language_model.layers = torch.nn.ModuleList([torch.nn.Linear(32, 32)] * 4)
    return model


LANGUAGE_MODELS = {
    "layers of another kind": (chunked, "see their tokens in a way that is not known here .chunked_attention"),
    "another build": (unknown, "has no layers whose attention can be observed"),
}


@pytest.mark.parametrize("case", LANGUAGE_MODELS)
def test_a_language_model_is_refused_before_anything_changes(case):
    build, message = LANGUAGE_MODELS[case]
    model = build()
    before = traces(model)
    with pytest.raises(AdapterError, match=message):
        pruned(model, keep=4)
    assert traces(model) == before
    tokprune.apply(model, scorer="l2-norm", keep=4).remove()  # in front of the language model it does not matter


def begun(model, text):
    with torch.no_grad():
        return cache_of(model(input_ids=text))


CALLS = {
    "static cache": (lambda m, i: generate(m, i, cache_implementation="static"), "cache_implementation='static'"),
    "quantised cache": (lambda m, i: generate(m, i, cache_implementation="quantized"), "cache_implementation='quant"),
    "a configuration": (
        lambda m, i: generate(m, i, generation_config=transformers.GenerationConfig(cache_implementation="static")),
        "cache_implementation='static'",
    ),
    "assisted": (
        lambda m, i: generate(m, i, assistant_model=built("qwen2")),
        "assistant_model: after the pruning point",
    ),
    "prompt lookup": (lambda m, i: generate(m, i, prompt_lookup_num_tokens=2), "prompt_lookup_num_tokens=2"),
    "prompt in pieces": (lambda m, i: generate(m, i, prefill_chunk_size=4), "prefill_chunk_size=4"),
    "dola": (lambda m, i: generate(m, i, dola_layers="low"), "dola_layers='low'"),
    "a static cache given": (
        lambda m, i: m(**i, **{CACHE: transformers.StaticCache(config=m.config.get_text_config(), max_cache_len=64)}),
        "the given cache .* is a StaticCache.*just grows",
    ),
    "a cache that is begun": (
        lambda m, i: m(**i, **{CACHE: begun(m, i["input_ids"][:, -3:])}),
        "images in a call that goes on from a cache",
    ),
    "a mask of one's own": (
        lambda m, i: m(**{**i, "attention_mask": torch.zeros(2, 1, 25, 25)}),
        "an attention mask of one's own",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_call_is_refused_before_the_language_model_runs(case):
    call, message = CALLS[case]
    model, inputs, ran = built(), prompts(), []
    with pruned(model, keep=4) as handle:
        before = traces(model)
        hook = model.model.vision_tower.register_forward_hook(lambda *_: ran.append(1))
        with pytest.raises(UnsupportedCallError, match=message):
            call(model, inputs)
        hook.remove()
        assert (ran, handle.report) == ([], None)
        assert traces(model) == before
        logits(model, inputs)  # and the next call works


@pytest.mark.parametrize("attention", ["flash_attention_2", "flex_attention"])
def test_attention_that_was_not_proven_is_refused(attention):
    model = copy.deepcopy(built())
    with pruned(model, keep=4):
        model.model.language_model.config._attn_implementation_internal = attention
        with pytest.raises(UnsupportedCallError, match=rf"attention implementation '{attention}'.*'sdpa'"):
            logits(model, prompts())


def goes_on(model, inputs, cache):
    rows = inputs["input_ids"].shape[0]
    mask = torch.cat([inputs["attention_mask"], torch.ones(rows, 1, dtype=torch.long)], dim=1)
    with torch.no_grad():
        return model(input_ids=torch.full((rows, 1), 11), attention_mask=mask, **{CACHE: cache})


def test_a_cache_that_was_changed_is_refused():
    model, inputs = built(), prompts()
    with pruned(model, keep=4), torch.no_grad():
        cache = cache_of(model(**inputs))
        goes_on(model, inputs, cache)
        cache.crop(-2)
        with pytest.raises(UnsupportedCallError, match="tokens were taken back"):
            goes_on(model, inputs, cache)
        behind = cache_of(model(**inputs)).layers[2]
        other = cache_of(model(**inputs))
        other.layers[2].keys, other.layers[2].values = behind.keys[:, :, 1:], behind.values[:, :, 1:]
        with pytest.raises(
            UnsupportedCallError, match="25 tokens in front of the pruning point and 12 after it, where 12 fewer"
        ):
            goes_on(model, inputs, other)


def test_a_cache_that_was_emptied_begins_anew():
    model, inputs = built(), prompts()
    text = {"input_ids": torch.randint(2, 80, (2, 7))}
    expected = logits(model, text)
    with pruned(model, keep=4), torch.no_grad():
        cache = transformers.DynamicCache(config=model.config.get_text_config())
        model(**inputs, **{CACHE: cache})
        for layer in cache.layers:
            layer.keys = layer.values = None
            layer.is_initialized = False
        assert torch.equal(model(**text, **{CACHE: cache}).logits, expected)


@contextmanager
def nothing_runs(model):
    """Neither the image encoder nor the language model is called."""
    ran = []
    parts = (model.model.vision_tower, model.model.language_model)
    hooks = [part.register_forward_pre_hook(lambda *_: ran.append(1), prepend=True) for part in parts]
    yield
    for hook in hooks:
        hook.remove()
    assert ran == []


def test_several_images_and_beams_are_right_or_refused():
    model, inputs = built(), prompts((2, 1))
    with pruned(model, keep=4) as handle:
        if encodes_before_expanding(model):
            logits(model, inputs)
            kept = handle.report.kept
            generate(model, inputs, num_beams=2, do_sample=False)
            assert torch.equal(handle.report.kept, kept)
        else:
            for options in ({"num_beams": 2, "do_sample": False}, {"num_return_sequences": 2, "do_sample": True}):
                with (
                    nothing_runs(model),
                    pytest.raises(UnsupportedCallError, match="this release of transformers mixes up the images"),
                ):
                    generate(model, inputs, **options)
            generate(model, inputs)  # one answer


@pytest.mark.parametrize("call", [logits, generate])
@pytest.mark.parametrize("count", [15, 0], ids=["another row's", "none"])
def test_placeholders_that_do_not_fit_the_images_are_refused(call, count):
    model, inputs = built(), prompts()
    if count:
        inputs["input_ids"][0, 5], inputs["input_ids"][1, -1] = 44, IMAGE  # as many in all, but not in each row
    else:
        inputs["input_ids"][inputs["input_ids"] == IMAGE] = 44
    counts = rf"\[{count}, {17 if count else 0}\] image placeholders per row, but there are 2 images of one size"
    with pruned(model, keep=4), nothing_runs(model), pytest.raises(UnsupportedCallError, match=counts):
        call(model, inputs)


def test_placeholders_that_do_not_fit_images_of_several_sizes_are_refused_when_those_are_known():
    model, inputs = built(shapes=True), shaped(rows=(1, 2))
    inputs["input_ids"][0, (inputs["input_ids"][0] == IMAGE).nonzero()[0, 0]] = 44
    inputs["input_ids"][1, -1] = IMAGE
    with pruned(model, keep=4), pytest.raises(UnsupportedCallError, match=r"there are images of \[8, 4, 8\] tokens"):
        logits(model, inputs)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_gradient_checkpointing_changes_nothing_or_is_refused():
    model, inputs = copy.deepcopy(built()), prompts(pads=(0, 0))

    def gradients():
        model.zero_grad()
        model(**inputs).logits.square().mean().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    with pruned(model, keep=4):
        plain = gradients()
        model.train()  # there is no dropout in it
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if "__call__" in vars(GradientCheckpointingLayer):
            with pytest.raises(UnsupportedCallError, match=r"gradient checkpointing .* install a newer transformers"):
                gradients()
        else:
            found = gradients()
            assert all(torch.allclose(found[name], plain[name], rtol=1e-3, atol=1e-5) for name in plain)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_gradient_checkpointing_of_layers_that_weigh_is_refused():
    model, inputs = copy.deepcopy(built()).train(), prompts(pads=(0, 0))
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    with pruned(model, keep=4, reduction="merge"):
        with pytest.raises(UnsupportedCallError, match=r"gradient checkpointing"):
            model(**inputs)
        logits(model, inputs)  # without gradients nothing runs again


def test_a_layer_that_was_replaced_is_noticed():
    for index, path in ((3, "layers.3"), (1, "layers.1")):
        model = copy.deepcopy(built())
        with pruned(model, keep=4):
            layers = model.model.language_model.layers
            layers[index] = copy.deepcopy(layers[index])
            with pytest.raises(AdapterError, match=rf"{path}\S*' was replaced after tokprune\.apply"):
                logits(model, prompts())


def test_an_attach_that_fails_leaves_nothing():
    model = built()
    before = traces(model)
    with pytest.raises(AdapterError):
        DecoderCut(model, PromptFamily("llava", IMAGE, (), base="nowhere"), _cut(), lambda seen: None, object())
    assert traces(model) == before
    assert Inside().matches(model)


def _cut():
    from tokprune.interfaces import Cut
    from tokprune.reductions import Prune

    return Cut("image", {}, lambda signal, keep=None: None, Prune(), "compact", keep=4)
