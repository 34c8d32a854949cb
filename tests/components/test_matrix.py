"""Every component, with every variant of its options, keeps every law of its kind."""

import dataclasses
import json

import pytest

from tokprune import Policy
from tokprune.testing import check_component

from .matrix import EVERY, LAWS, REGISTRY, VARIANTS, create, every_component


@every_component
def test_a_component_keeps_the_laws_of_its_kind(kind, spec):
    check_component(kind, create(kind, spec))


@every_component
def test_a_component_is_written_down_and_read_back(kind, spec):
    component = create(kind, spec)
    assert REGISTRY.spec_of(kind, component) == spec
    assert REGISTRY.create(kind, REGISTRY.spec_of(kind, component)) == component


@every_component
def test_a_component_fits_into_a_policy_that_survives_json(kind, spec):
    policy = Policy(**{kind: spec})
    assert Policy.from_dict(json.loads(json.dumps(policy.to_dict()))) == policy
    assert eval(repr(policy)) == policy


@every_component
def test_a_component_cannot_be_changed(kind, spec):
    component = create(kind, spec)
    with pytest.raises(dataclasses.FrozenInstanceError):
        component.anything = 1


@every_component
def test_a_component_says_in_one_line_what_it_is(kind, spec):
    entry = REGISTRY.entry(kind, spec.partition(":")[0])
    assert entry.summary.endswith((".", ":"))
    assert len(entry.summary) <= 120
    assert entry.distribution == "tokprune"


def test_every_option_of_every_component_is_tried():
    for kind in LAWS:
        for entry in REGISTRY.entries(kind):
            tried = " ".join(VARIANTS.get(entry.name, ()))
            assert all(f"{option}=" in tried for option in entry.options), f"add a variant of {entry.name} above"


def test_the_matrix_names_only_components_that_are_there():
    names = {spec.partition(":")[0] for _, spec in EVERY}
    assert names >= VARIANTS.keys()


def test_the_names_that_must_exist_exist():
    assert {"catp-vote", "catp-weighted", "self-attention", "l2-norm", "random", "first", "stride"} <= set(
        REGISTRY.names("scorer")
    )
    assert {"borda", "sum", "mean", "max", "plurality", "copeland"} <= set(REGISTRY.names("aggregator"))
    assert {"prune", "merge", "mask"} <= set(REGISTRY.names("reduction"))
    assert "top-k" in REGISTRY.names("selector")
