"""Proportional attention after prompt pruning: in every family the model that is handed the kept tokens, with log(size)
added to its masks by hand, answers and generates the same.
"""

import copy
import warnings

import pytest
import torch

import tokprune

from .families import embedmerge, qformer, qwen
from .families.family import GENERATE, assert_same
from .proportional import column_sizes, plain, told, weighed_by_hand
from .test_families import lent
from .traces import traces

FAMILIES = [
    *(each for each in qformer.FAMILIES if each.target == "query" and each.adapter != "blip2-retrieval"),
    *embedmerge.FAMILIES,
    *qwen.FAMILIES,
]
KINDS = ("blip2 with t5, query tokens", "gemma3", "qwen3-vl")
"""Others that read a prompt in a way of their own."""
FIRST = [FAMILIES[0], *embedmerge.FAMILIES[:1]]
GENERATING = [each for each in FAMILIES if each.generated is not None]


@pytest.mark.parametrize("counts", [(3, 3), (2, 4)], ids=["equally many", "ragged"])
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_merged_token_counts_as_many_times_as_it_stands_for_tokens(family, counts):
    model, inputs = lent(family), family.inputs()
    kept, policy = told(family, counts)
    by_hand = plain(model)
    with weighed_by_hand(by_hand, column_sizes(family, inputs, kept)):
        expected = family.oracle(by_hand, inputs, kept)
    with tokprune.apply(model, **policy):
        found = family.answer(model, inputs)
    assert_same(found, expected, 5e-4)
    unweighed = family.oracle(by_hand, inputs, kept)
    assert (unweighed - expected).nan_to_num().abs().max() > 1e-2  # or all this proves nothing


@pytest.mark.parametrize(
    ("family", "mode"),
    [
        pytest.param(family, mode, marks=[] if mode == "greedy" or family in FIRST else [pytest.mark.slow])
        for family in GENERATING
        for mode in GENERATE
    ],
    ids=str,
)
def test_it_counts_in_every_step_of_a_generation(family, mode):
    model, inputs = lent(family), family.inputs()
    kept, policy = told(family)
    options = {"max_new_tokens": 5, **GENERATE[mode]}
    by_hand = plain(model)
    with weighed_by_hand(by_hand, column_sizes(family, inputs, kept)):
        expected = family.generated(by_hand, inputs, kept, options)
    with tokprune.apply(model, **policy):
        found = family.generate(model, inputs, mode)
    assert torch.equal(family.new(model, inputs, found), expected)


@pytest.mark.parametrize("family", [*FIRST, *(each for each in FAMILIES if each.name in KINDS)], ids=str)
def test_a_model_that_merges_passes_its_own_check_is_copied_and_given_back(family):
    model, inputs = copy.deepcopy(lent(family)), family.inputs()
    before = traces(model)
    handle = tokprune.apply(model, scorer="l2-norm", keep=0.5, reduction="merge", target=family.target)
    assert handle.policy.attention == "proportional"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="handle.check did not prove")
        handle.check(inputs)
    merged, twin = family.answer(model, inputs), copy.deepcopy(model)
    handle.remove()
    assert traces(model) == before
    assert torch.equal(family.answer(twin, inputs), merged)
