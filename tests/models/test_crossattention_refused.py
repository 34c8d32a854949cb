"""Calls of models with cross-attention that cannot be pruned rightly: an error before anything runs, and no trace."""

import copy

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, StaticCache
from transformers.cache_utils import DynamicSlidingWindowLayer

import tokprune
from tokprune.adapters.upstream import cache_of
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.testing.tiny_crossattention import pictures, sounds

from .calls import CACHE
from .crossattention import INPUTS, tiny
from .keeping import keeping
from .traces import traces

INSIDE = ["captions", "answers", "whisper", "pair", "mllama", "idefics"]


def refused(model, call, message, **options):
    """The policy is applied, `call` is refused, nothing ran, and nothing is left."""
    before, ran = traces(model), []
    hooks = [module.register_forward_hook(lambda *_: ran.append(1)) for module in model.children()]
    try:
        with (
            tokprune.apply(model, scorer="first", keep=2, **options) as handle,
            pytest.raises(UnsupportedCallError, match=message),
            torch.no_grad(),
        ):
            call(model)
    finally:
        for hook in hooks:
            hook.remove()
    assert not ran
    assert handle.report is None
    assert traces(model) == before


def generating(name, **options):
    """A call of `generate`."""
    inputs = {key: value for key, value in INPUTS[name]().items() if key != "labels"}
    return lambda model: model.generate(**inputs, max_new_tokens=2, **options)


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache_implementation": "static"}, "cache_implementation='static'.*just grows"),
        ({"cache_implementation": "sliding_window"}, "cache_implementation='sliding_window'.*just grows"),
        ({"cache_implementation": "hybrid_chunked"}, "just grows"),
        ({"cache_implementation": "quantized"}, "just grows"),
        ({"prompt_lookup_num_tokens": 2}, "assisted decoding"),
        ({"assistant_model": object()}, "assisted decoding"),
        ({"use_cache": False}, "without a cache"),
        ({"prefill_chunk_size": 2}, "in pieces"),
    ],
)
def test_what_cannot_be_done_inside_a_decoder(name, options, message):
    refused(tiny(name), generating(name, **options), message, after=1)


def test_a_generation_configuration_is_looked_at_too():
    model = tiny("mllama")
    config = copy.deepcopy(model.generation_config)
    config.cache_implementation = "static"
    refused(model, generating("mllama", generation_config=config), "just grows")
    model = copy.deepcopy(model)
    model.generation_config.cache_implementation = "static"
    refused(model, generating("mllama"), "just grows")
    config.cache_implementation = None
    refused(model, generating("mllama", generation_config=config), "just grows")  # which the model's own fills up


def test_mllama_has_no_static_cache_at_all():
    model = tiny("mllama")
    cache = StaticCache(config=model.config.text_config, max_cache_len=32)
    refused(model, lambda model: model(**INPUTS["mllama"](), **{CACHE: cache}), "just grows")


def doubled(first, second):
    return EncoderDecoderCache(first, second)


def windowed():
    cache = DynamicCache()
    cache.layers.append(DynamicSlidingWindowLayer(sliding_window=3))
    return cache


@pytest.mark.parametrize("name", ["whisper", "pair"])
def test_a_cache_is_judged_by_what_its_layers_do(name):
    model, inputs = tiny(name), INPUTS[name]()
    config = model.config.get_text_config(decoder=True)
    fixed = StaticCache(config=config, max_cache_len=32)
    for cache in (doubled(DynamicCache(), windowed()), doubled(windowed(), DynamicCache()), doubled(fixed, fixed)):
        refused(model, generating(name, **{CACHE: cache}), "just grows", after=1)
        refused(model, lambda model, cache=cache: model(**inputs, **{CACHE: cache}), "just grows", after=1)


@pytest.mark.parametrize("name", ["whisper", "pair", "mllama"])
@pytest.mark.parametrize("keep", [1.0, 3])
def test_a_cache_of_ones_own_that_just_grows_is_taken(name, keep):
    model = tiny(name)
    own = DynamicCache() if name == "mllama" else doubled(DynamicCache(), DynamicCache())
    unpruned = generating(name)(model)
    with torch.no_grad(), tokprune.apply(model, scorer="first", keep=keep, after=1):
        expected = generating(name)(model)
        assert torch.equal(generating(name, **{CACHE: own})(model), expected)
    assert keep != 1.0 or torch.equal(expected, unpruned)


@pytest.mark.parametrize("name", ["whisper", "pair"])
def test_tokens_that_were_encoded_before(name):
    model, inputs = tiny(name), INPUTS[name]()
    encoder = model.get_encoder()
    with torch.no_grad():
        earlier = encoder(next(iter(inputs.values())))
    written = {key: value for key, value in inputs.items() if key.startswith("decoder")}
    refused(model, lambda model: model(encoder_outputs=earlier, **written), "encoded earlier")
    refused(model, lambda model: model(encoder_outputs=(earlier[0],), **written), "encoded earlier")


@pytest.mark.parametrize("name", ["idefics"])
def test_embeddings_of_images_that_were_made_before(name):
    model, inputs = tiny(name), INPUTS[name]()
    pixels = inputs.pop("pixel_values")
    with torch.no_grad():
        earlier = model.model.vision_model(pixels.flatten(0, 1)).last_hidden_state[:, None]
    refused(model, lambda model: model(image_encoder_embeddings=earlier, **inputs), "encoded earlier")


def test_tokens_that_the_pruned_encoder_gave_are_taken():
    model, inputs = tiny("pair"), pictures()
    written = {key: value for key, value in inputs.items() if key.startswith("decoder")}
    with torch.no_grad(), tokprune.apply(model, scorer="l2-norm", keep=4):
        expected = model(**inputs).logits
        encoded = model.get_encoder()(inputs["pixel_values"])
        assert torch.equal(model(encoder_outputs=encoded, **written).logits, expected)
        assert torch.equal(model(encoder_outputs=tuple(encoded.values()), **written).logits, expected)


def test_whisper_places_no_words_in_time():
    refused(tiny("whisper"), generating("whisper", return_token_timestamps=True), "return_token_timestamps")


def test_whisper_generates_from_sound_alone():
    model = tiny("whisper")
    with torch.no_grad():
        earlier = model.model.encoder(sounds()["input_features"])
    refused(model, lambda model: model.generate(encoder_outputs=earlier), "input_features")


@pytest.mark.parametrize("name", ["captions", "mllama"])
def test_gradient_checkpointing_inside_a_decoder(name):
    model = copy.deepcopy(tiny(name)).train()
    model.gradient_checkpointing_enable()
    with tokprune.apply(model, scorer="first", keep=2, after=1), pytest.raises(UnsupportedCallError, match="backward"):
        model(**INPUTS[name]())


def test_a_mask_of_the_text_in_a_shape_that_says_nothing():
    model, inputs = tiny("mllama"), INPUTS["mllama"]()
    inputs["attention_mask"] = torch.ones(2, 1, 6, 6, dtype=torch.bool).tril()
    with tokprune.apply(model, scorer="catp-vote", keep=2), pytest.raises(UnsupportedCallError, match="4 dimensions"):
        model(**inputs)


def test_a_cache_that_was_filled_before():
    model, inputs = tiny("mllama"), INPUTS["mllama"]()
    with torch.no_grad():
        earlier = model(**inputs, **{CACHE: DynamicCache(config=model.config.text_config)})
        step = {"input_ids": torch.tensor([[3], [4]]), CACHE: cache_of(earlier)}
        seen = inputs["cross_attention_mask"]
        step["cross_attention_mask"] = torch.cat([seen, seen[:, -1:]], dim=1)
        with tokprune.apply(model, scorer="first", keep=2), pytest.raises(UnsupportedCallError, match="filled before"):
            model(**step)


@pytest.mark.parametrize("options", [{}, {"after": 1}])
def test_new_images_in_the_middle_of_a_generation(options):
    model, inputs = tiny("mllama"), INPUTS["mllama"]()
    with torch.no_grad(), tokprune.apply(model, scorer="first", keep=2, **options):
        cache = cache_of(model(**inputs))
        inputs["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones(2, 6, dtype=torch.long)], dim=1)
        inputs["cross_attention_mask"] = inputs["cross_attention_mask"].repeat(1, 2, 1, 1)
        with pytest.raises(UnsupportedCallError, match="new images"):
            model(**inputs, **{CACHE: cache})


@pytest.mark.parametrize("after", [3, 5, [1, 2], "every", 1.0])
def test_places_that_are_none(after):
    model = tiny("captions")
    before = traces(model)
    with pytest.raises(AdapterError, match="after="):
        tokprune.apply(model, scorer="first", keep=2, after=after)
    assert traces(model) == before


def test_a_share_of_the_decoders_layers_is_a_place():
    model = tiny("captions")
    with tokprune.apply(model, scorer="catp-vote", keep=4, after=0.67) as handle, torch.no_grad():
        model(**INPUTS["captions"]())
    signal = tokprune.observe(model, INPUTS["captions"](), ["cross_attention"], after=0.67)
    assert handle.report.counts.tolist() == [4, 4]
    assert len(signal.cross_attention) == 2


def test_uneven_rows_where_there_is_no_mask_to_fill_them():
    model = copy.deepcopy(tiny("pair"))
    model.config._attn_implementation = model.decoder.config._attn_implementation = "flash_attention_2"
    kept = torch.arange(16)[None] < torch.tensor([[3], [5]])
    with (
        torch.no_grad(),
        tokprune.apply(model, **keeping(kept)),
        pytest.raises(UnsupportedCallError, match="flash_attention_2"),
    ):
        model(**pictures())
