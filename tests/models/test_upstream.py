"""Names that transformers changes from release to release are understood, and used as the installed one has them."""

import warnings

import pytest
import torch
from transformers import DynamicCache

import tokprune
from tokprune.adapters.upstream import CACHE_NAMES, ENCODED, ENCODED_EARLIER, cache_argument, cache_in, cache_of, since
from tokprune.errors import UnsupportedCallError

from .families.every import FAMILIES


class Newer:
    """An output as 5.24 has it: it knows the older name, and warns."""

    cache = None

    @property
    def past_key_values(self):
        raise AssertionError("asked for by its older name")


def test_a_cache_is_found_by_either_name():
    cache = DynamicCache()
    for name in CACHE_NAMES:
        assert cache_in({name: cache}) is cache
        assert cache_of(type("Output", (), {name: cache})()) is cache
        assert cache_argument(eval(f"lambda input_ids, {name}=None: None")) == name
    assert cache_in({"use_cache": True}) is None
    assert cache_of((torch.zeros(1), cache)) is cache
    assert cache_of(Newer()) is None


@pytest.mark.parametrize("name", ["idefics2", "idefics3", "smolvlm"])
def test_features_that_were_computed_earlier_are_refused_by_either_name(name):
    family = next(family for family in FAMILIES if family.name == name)
    model, inputs = family.build(), family.inputs()
    with torch.no_grad():
        found = model.get_image_features(inputs["pixel_values"], inputs.get("pixel_attention_mask")).pooler_output
    found = found if isinstance(found, torch.Tensor) else torch.cat(list(found))
    given = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    brought = ENCODED if since("5.20") else ENCODED_EARLIER
    given[brought] = {"image": found} if since("5.20") else found
    with (
        tokprune.apply(model, scorer="l2-norm", keep=3),
        pytest.raises(UnsupportedCallError, match=f"{brought} brings image tokens"),
    ):
        family.answer(model, given)


@pytest.mark.parametrize(
    "name", ["llava", "llava, inside the language model", "mllama", "blip2 with opt, query tokens"]
)
def test_a_pruned_call_uses_no_name_that_is_deprecated(name):
    family = next(family for family in FAMILIES if family.name == name)
    model, inputs = family.build(), family.inputs()
    with (
        warnings.catch_warnings(record=True) as found,
        tokprune.apply(model, scorer="l2-norm", keep=3, target=family.target, **family.options),
    ):
        warnings.simplefilter("always")
        family.answer(model, inputs)
        family.generate(model, inputs, "greedy")
    assert not [each for each in found if "past_key_values" in str(each.message)]
