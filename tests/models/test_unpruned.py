"""A call in which nothing was pruned says so where something could have been, and no report is that of another call."""

import copy
import inspect
import warnings

import pytest
import torch

from tokprune.adapters.outercall import named_arguments
from tokprune.adapters.upstream import cache_of
from tokprune.errors import TokpruneError, UnprunedWarning, UnsupportedCallError
from tokprune.testing import tiny_qwen

from .families.every import FAMILIES
from .test_families import applied, lent

BY_NAME = {str(family): family for family in FAMILIES}
KINDS = ["llava", "llava, inside the language model", "mllama", "mllama inside the language model"]
"""One of each mechanism in models that also take text alone."""
kinds = pytest.mark.parametrize("family", [BY_NAME[name] for name in KINDS], ids=str)


def without_images(inputs):
    """The text alone."""
    return {name: inputs[name][:, -3:] for name in ("input_ids", "attention_mask")}


@pytest.fixture
def silent():
    """Warnings of unpruned calls are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnprunedWarning)
        yield


@kinds
def test_a_call_without_images_leaves_no_report_and_no_warning(family, silent):
    model, inputs = lent(family), family.inputs()
    with applied(model, family, scorer="first", keep=2) as handle, torch.no_grad():
        model(**inputs)
        assert handle.report is not None
        model.get_input_embeddings()  # no call of the model
        assert handle.report is not None
        model(**without_images(inputs))
        assert handle.report is None
        model.generate(**inputs, max_new_tokens=3, do_sample=False)
        assert handle.report is not None
        model.generate(**without_images(inputs), max_new_tokens=2, do_sample=False)
        assert handle.report is None


@kinds
def test_steps_with_a_cache_keep_the_report_of_their_prompt(family, silent):
    model, inputs = lent(family), family.inputs()
    with applied(model, family, scorer="first", keep=2) as handle, torch.no_grad():
        cache = cache_of(model(**inputs, use_cache=True))
        report = handle.report
        word = torch.full((len(inputs["input_ids"]), 1), 21)
        mask = torch.ones(len(word), cache.get_seq_length() + 1, dtype=torch.long)
        model(input_ids=word, past_key_values=cache, attention_mask=mask)
        assert handle.report is report


QWENS = [BY_NAME[name] for name in ("qwen2-vl", "qwen3-vl")]
qwens = pytest.mark.parametrize("family", QWENS, ids=str)


def film(family):
    """A prompt with nothing but a video."""
    return tiny_qwen.prompts([[(2, 4, 4)], [(2, 4, 4)]], apart=family.name == "qwen3-vl")


@qwens
def test_videos_are_said_to_be_unpruned_once(family):
    model, inputs = lent(family), film(family)
    both = family.several["an image and a video"]()
    with applied(model, family, scorer="first", keep=1) as handle, torch.no_grad():
        model(**family.inputs())
        with pytest.warns(UnprunedWarning, match="video tokens are not pruned"):
            model(**inputs)
        assert handle.report is None
        with warnings.catch_warnings():
            warnings.simplefilter("error", UnprunedWarning)
            model(**both)
            assert handle.report is not None
            model.generate(**inputs, max_new_tokens=2)
        assert handle.report is None
    said = pytest.warns(UnprunedWarning, match="video tokens are not pruned")
    with applied(model, family, scorer="first", keep=1), said, torch.no_grad():
        model.generate(**both, max_new_tokens=2)


@qwens
def test_check_says_that_a_video_is_no_image(family):
    model = lent(family)
    refused = pytest.raises(TokpruneError, match="video tokens are not pruned")
    with applied(model, family, scorer="first", keep=1) as handle, pytest.warns(UnprunedWarning), refused:
        handle.check(film(family))


def test_check_asks_for_images():
    family = BY_NAME["llava"]
    model, inputs = lent(family), family.inputs()
    with applied(model, family, scorer="first", keep=1) as handle:
        with pytest.raises(TokpruneError, match="no images, video or sound"):
            handle.check(without_images(inputs))
        assert handle.check(inputs) is handle.report


def test_the_inner_model_called_by_itself_says_what_to_call():
    family = BY_NAME["llava"]
    model, inputs = lent(family), family.inputs()
    with applied(model, family, scorer="first", keep=1) as handle, torch.no_grad():
        model(**inputs)
        with pytest.warns(UnprunedWarning, match=r"LlavaModel was called by itself.*LlavaForConditionalGeneration"):
            model.model(**inputs)
        assert handle.report is None


@pytest.mark.parametrize("name", [*KINDS, "blip2 with opt, query tokens"])
def test_arguments_by_position_of_a_subclass_that_takes_any(name):
    family = BY_NAME[name]
    kind = type(lent(family))

    class Taking(kind):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    model, inputs = copy.deepcopy(lent(family)), family.inputs()
    model.__class__ = Taking
    first = list(inspect.signature(kind.forward).parameters)[1:3]
    with applied(model, family, scorer="first", keep=2) as handle, torch.no_grad():
        expected = model(**inputs).logits
        rest = {key: value for key, value in inputs.items() if key not in first}
        assert torch.equal(model(*(inputs[key] for key in first), **rest).logits, expected)
        assert handle.report is not None


def test_positions_that_nothing_names_are_refused():
    class Odd(torch.nn.Module):
        def forward(self, *args):
            return args

    with pytest.raises(UnsupportedCallError, match="by name"):
        named_arguments(Odd().forward, (1,), {})
