"""Names that transformers changes from release to release are understood, and used as the installed one has them."""

import warnings

import pytest
import torch
from transformers import DynamicCache

import tokprune
from tokprune.adapters.upstream import CACHE_NAMES, cache_argument, cache_in, cache_of

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
