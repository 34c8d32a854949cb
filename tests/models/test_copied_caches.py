"""A prompt is read once, and its cache is copied for each question: what stayed of the prompt goes along."""

import copy
import pickle

import pytest
import torch

from tokprune.adapters.upstream import cache_of
from tokprune.errors import UnsupportedCallError

from .calls import CACHE
from .families.every import GENERATING
from .test_families import applied, lent

READING = [
    family
    for family in GENERATING
    if family.adapter not in ("blip", "blip2", "instructblip", "instructblip-video", "mllama", "idefics", "whisper")
    and family.adapter != "vision-encoder-decoder"
]
"""Families that read their images in the prompt."""
DECODERS = [
    family
    for family in GENERATING
    if family.name
    in ("whisper inside the decoder", "vit and gpt-2 inside the decoder", "idefics inside the decoder", "mllama")
    or family.name == "mllama inside the language model"
]
NAMED = {family.name: family for family in GENERATING}
WAYS = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda cache: pickle.loads(pickle.dumps(cache)),
}


def prefilled(model, inputs):
    with torch.no_grad():
        return cache_of(model(**inputs, use_cache=True))


def longer(inputs, new):
    """The whole prompt with a question behind it, without the images."""
    given = {"input_ids": torch.cat([inputs["input_ids"], new], dim=1)}
    given["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(new)], dim=1)
    return given


def ask(model, inputs, cache, new, **options):
    given = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, CACHE: cache, **options}
    torch.manual_seed(7)
    with torch.no_grad():
        return model.generate(**longer(inputs, new), **given)


def step(model, inputs, cache, new):
    """Logits of a forward that goes on."""
    mask = longer(inputs, new)["attention_mask"]
    if hasattr(getattr(model, "model", None), "get_rope_index"):
        mask = None  # Qwen-VL does not take a whole one with a cache
    with torch.no_grad():
        return model(input_ids=new, attention_mask=mask, **{CACHE: cache}).logits


QUESTIONS = [torch.tensor([[7, 8, 9], [10, 11, 12]]), torch.tensor([[20, 21, 22], [23, 24, 25]])]


@pytest.fixture(params=READING, ids=str)
def family(request):
    """A family."""
    return request.param


@pytest.fixture
def model(family):
    """Its model, shared."""
    return lent(family)


@pytest.mark.parametrize("keep", [1.0, 3])
def test_each_question_gets_a_copy(family, model, keep):
    inputs = family.inputs()
    unpruned = prefilled(model, inputs)
    before = [ask(model, inputs, copy.deepcopy(unpruned), new) for new in QUESTIONS]
    with applied(
        model, family, scorer="l2-norm" if family.name != "llava, inside the language model" else "first", keep=keep
    ):
        shared = prefilled(model, inputs)
        for way in WAYS.values():
            for number, new in enumerate(QUESTIONS):
                fresh = ask(model, inputs, prefilled(model, inputs), new)
                assert torch.equal(ask(model, inputs, way(shared), new), fresh)
                assert keep != 1.0 or torch.equal(fresh, before[number])
                fresh = step(model, inputs, prefilled(model, inputs), new)
                assert torch.equal(step(model, inputs, way(way(shared)), new), fresh)


@pytest.mark.parametrize("family", DECODERS, ids=str)
@pytest.mark.parametrize("keep", [1.0, 3])
def test_decoders_go_on_from_copies(family, model, keep):
    inputs = family.inputs()
    text = "decoder_input_ids" if "decoder_input_ids" in inputs else "input_ids"
    more = {name: value for name, value in inputs.items() if name not in ("attention_mask", "decoder_attention_mask")}
    if family.adapter == "mllama":
        seen = inputs["cross_attention_mask"]
        more = {"cross_attention_mask": torch.cat([seen, seen[:, -1:]], dim=1)}  # it cuts its rows out itself
    if "image_attention_mask" in more:
        more["image_attention_mask"] = more["image_attention_mask"][:, -1:]
    more[text] = torch.tensor([[7], [10]])

    def go_on(cache):
        with torch.no_grad():
            return model(**more, **{CACHE: cache}).logits

    unpruned = go_on(prefilled(model, inputs))
    with applied(model, family, scorer="first", keep=keep):
        shared = prefilled(model, inputs)
        fresh = go_on(prefilled(model, inputs))
        for way in WAYS.values():
            assert torch.equal(go_on(way(shared)), fresh)
        assert torch.equal(fresh, unpruned) == (keep == 1.0)
        repeated = copy.deepcopy(shared)
        repeated.batch_repeat_interleave(2)
        repeated.batch_select_indices(torch.tensor([0, 2]))
        assert torch.equal(go_on(repeated), fresh)


CHANGES = {
    "batch_repeat_interleave": ((2,), [0, 0, 1, 1]),
    "batch_select_indices": ((torch.tensor([1]),), [1]),
    "reorder_cache": ((torch.tensor([1, 0]),), [1, 0]),
}


@pytest.mark.parametrize("name", ["llava", "qwen2-vl", "mistral3", "llava, inside the language model"])
@pytest.mark.parametrize("change", CHANGES)
def test_rows_of_a_cache_change_and_what_stayed_goes_along(name, change):
    if name == "qwen2-vl" and change != "reorder_cache":
        pytest.skip("Qwen-VL itself notes how many rows there are")
    family = NAMED[name]
    model, inputs, new = lent(family), family.inputs(), QUESTIONS[0]
    arguments, order = CHANGES[change]
    chosen = {key: inputs[key][order] for key in ("input_ids", "attention_mask")}
    with applied(model, family, scorer="stride", selector="top-p", keep=0.3):
        expected = step(model, inputs, prefilled(model, inputs), new)[order]
        answers = ask(model, inputs, prefilled(model, inputs), new)[order]
        cache = prefilled(model, inputs)
        getattr(cache, change)(*arguments)
        cache = copy.deepcopy(cache)
        assert torch.equal(ask(model, chosen, copy.deepcopy(cache), new[order]), answers)
        found = step(model, chosen, cache, new[order])
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_cache_that_is_repeated_for_samples_answers_several_times():
    family = NAMED["llava"]
    model, inputs, new = lent(family), family.inputs(), QUESTIONS[0]
    with applied(model, family, scorer="first", keep=3):
        cache = prefilled(model, inputs)
        once = ask(model, inputs, copy.deepcopy(cache), new)
        cache.batch_repeat_interleave(3)
        beams = ask(model, inputs, cache, new, num_beams=3)
    assert beams.shape == once.shape
    assert torch.equal(beams[:, :-4], once[:, :-4])


def test_a_cache_given_to_generate_is_known_afterwards():
    from transformers import DynamicCache

    family = NAMED["llava"]
    model, inputs, new = lent(family), family.inputs(), QUESTIONS[0]
    with applied(model, family, scorer="first", keep=3):
        cache = DynamicCache(config=model.config.get_text_config())
        options = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None}
        with torch.no_grad():
            first = model.generate(**inputs, **{CACHE: cache}, **options)
        said = {
            "input_ids": first,
            "attention_mask": torch.cat([inputs["attention_mask"], torch.ones(2, 3, dtype=torch.long)], dim=1),
        }
        found = ask(model, said, copy.deepcopy(cache), new)
        begun = {**inputs, **longer(said, new)}
        with torch.no_grad():
            whole = model.generate(**begun, max_new_tokens=4, do_sample=False, eos_token_id=None)
    assert torch.equal(found, whole)


@pytest.mark.parametrize("name", ["llava", "qwen2-vl", "llava, inside the language model"])
def test_a_cache_of_another_policy_or_of_a_copied_model_is_refused(name):
    family = NAMED[name]
    model, inputs, new = lent(family), family.inputs(), QUESTIONS[0]
    with applied(model, family, scorer="first", keep=3):
        cache = prefilled(model, inputs)
        twin = copy.deepcopy(model)
        for call in (ask, step):
            with pytest.raises(UnsupportedCallError, match="another policy"):
                call(twin, inputs, cache, new)
    with applied(model, family, scorer="first", keep=4):
        for call in (ask, step):
            with pytest.raises(UnsupportedCallError, match="another policy"):
                call(model, inputs, copy.deepcopy(cache), new)


def test_a_cache_that_does_not_fit_any_more_is_refused():
    family = NAMED["llava"]
    model, inputs, new = lent(family), family.inputs(), QUESTIONS[0]
    with applied(model, family, scorer="first", keep=3):
        cropped = prefilled(model, inputs)
        for layer in cropped.layers:
            layer.keys, layer.values = layer.keys[..., :5, :], layer.values[..., :5, :]
        with pytest.raises(UnsupportedCallError, match="cropped"):
            ask(model, inputs, cropped, new)
        fewer = prefilled(model, inputs)
        for layer in fewer.layers:
            layer.keys, layer.values = layer.keys[:1], layer.values[:1]
        with pytest.raises(UnsupportedCallError, match="rows"):
            step(model, inputs, fewer, new)
        lost = prefilled(model, inputs)
        vars(lost).pop("_tokprune_generations")
        with pytest.raises(UnsupportedCallError, match="not known any more"):
            ask(model, inputs, lost, new)


def test_a_cache_that_is_emptied_is_as_new():
    family = NAMED["llava"]
    model, inputs, new = lent(family), family.inputs(), QUESTIONS[0]
    expected = ask(model, inputs, prefilled(model, inputs), new)
    with applied(model, family, scorer="first", keep=3):
        cache = prefilled(model, inputs)
    cache.reset()
    if cache.get_seq_length():
        pytest.skip("reset of this release of transformers does not empty a cache")
    with applied(model, family, scorer="first", keep=1.0):
        with torch.no_grad():
            model(**inputs, **{CACHE: cache})
        assert torch.equal(ask(model, inputs, copy.deepcopy(cache), new), expected)


@pytest.mark.parametrize("name", ["blip2 with opt, query tokens", "instructblip with llama, query tokens"])
@pytest.mark.parametrize("keep", [1.0, 3])
def test_a_delegated_prompt_is_read_once_too(name, keep):
    family = NAMED[name]
    model, inputs, new = lent(family), family.inputs(), QUESTIONS[0]
    more = {**inputs, **longer(inputs, new)}

    def again(cache):
        with torch.no_grad():
            options = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
            return model.generate(**more, **{CACHE: cache}, **options)

    def three(cache):
        reader = model.language_model
        return again(cache()), ask(reader, inputs, cache(), new), step(reader, inputs, cache(), new)

    def read(given=inputs):
        with torch.no_grad():
            return cache_of(model(**given, use_cache=True).language_model_outputs)

    cache = read()
    before = three(lambda: copy.deepcopy(cache))
    with applied(model, family, scorer="focus", keep=keep):
        shared = read()
        fresh = three(read)
        for way in WAYS.values():
            found = three(lambda way=way: way(shared))
            assert all(torch.equal(*pair) for pair in zip(found, fresh, strict=True))
        if keep == 1.0:
            assert all(torch.equal(*pair) for pair in zip(fresh, before, strict=True))
    with applied(model, family, scorer="focus", keep=3), pytest.raises(UnsupportedCallError, match="which of theirs"):
        again(copy.deepcopy(cache))
    if keep != 1.0:
        with (
            applied(model, family, scorer="first", keep=3),
            pytest.raises(UnsupportedCallError, match="another policy"),
        ):
            again(copy.deepcopy(shared))
