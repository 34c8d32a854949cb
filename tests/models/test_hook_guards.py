"""Torch's setting that lets compiled code look at hooks is the user's again when the last cut is gone."""

import copy
import gc

import pytest
import torch._dynamo

import tokprune
from tokprune.testing.tiny_blip2 import tiny_blip2

NAME = "skip_nnmodule_hook_guards"


def skips():
    return getattr(torch._dynamo.config, NAME)


@pytest.fixture(params=[True, False])
def found(request):
    """What the user had set."""
    gc.collect()
    with torch._dynamo.config.patch({NAME: request.param}):
        yield request.param


def test_it_is_put_back_with_the_last_handle(found):
    model, other = tiny_blip2(), tiny_blip2()
    first = tokprune.apply(model, keep=3)
    second = tokprune.apply(model, target="image")
    third = tokprune.apply(other, keep=3)
    for handle in (second, first):
        handle.remove()
        assert skips() is False
    third.remove()
    assert skips() is found


def test_a_policy_that_is_refused_leaves_it_alone(found):
    with pytest.raises(tokprune.TokpruneError):
        tokprune.apply(tiny_blip2(), target="image", reduction="mask", scorer="first")
    assert skips() is found


def test_a_copy_of_a_pruned_model_holds_it_until_it_is_unpruned_or_gone(found):
    model = tiny_blip2()
    handle = tokprune.apply(model, keep=3)
    twin, thrown = copy.deepcopy(model), copy.deepcopy(model)
    handle.remove()
    assert skips() is False
    del thrown
    gc.collect()
    assert skips() is False
    for each in tokprune.handles_of(twin):
        each.remove()
    assert skips() is found
