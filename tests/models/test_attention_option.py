"""`attention`: where a policy says nothing, what the model can do decides; what it cannot do is refused."""

from dataclasses import dataclass

import pytest

import tokprune
from tokprune import AdapterError, Policy
from tokprune.adapters import Blip2
from tokprune.testing.tiny_blip2 import tiny_blip2

MODEL = tiny_blip2("opt")


@dataclass(frozen=True)
class Weighs(Blip2):
    """Says of its image tokens that they can be weighed, and of the others why not."""

    def weighs(self, model, target, after):
        return target == "image" or "its reader takes no mask"


@dataclass(frozen=True)
class SaysNothing(Blip2):
    """Does not say where its tokens can be weighed."""

    weighs = None


def applied(**options):
    """The policy as it acts on a model."""
    with tokprune.apply(MODEL, adapter=Weighs(), **options) as handle:
        assert handle._cut.attention == handle.policy.attention
        return handle.policy


def test_it_is_proportional_where_tokens_are_merged_and_the_model_can_be_weighed():
    assert applied(target="image", reduction="merge").attention == "proportional"
    assert applied(target="image", reduction="merge", attention="plain").attention == "plain"
    assert applied(target="query", reduction="merge").attention == "plain"
    assert applied(target="image").attention == "plain"


def test_what_cannot_be_weighed_is_refused_with_the_reason():
    message = "target 'query': attention='proportional' .* its reader takes no mask. Take attention='plain'"
    with pytest.raises(AdapterError, match=message):
        applied(target="query", reduction="merge", attention="proportional")


def test_an_adapter_that_says_nothing_cannot_be_weighed():
    with tokprune.apply(MODEL, adapter=SaysNothing(), reduction="merge") as handle:
        assert handle.policy.attention == "plain"
    with pytest.raises(AdapterError, match="not built for this pruning point"):
        tokprune.apply(MODEL, adapter=SaysNothing(), reduction="merge", attention="proportional")
    assert not tokprune.handles_of(MODEL)


def test_inside_is_refused_where_an_adapter_knows_no_such_place():
    with pytest.raises(AdapterError, match="target 'query' has no pruning point inside the encoder of a Blip2"):
        applied(target="query", inside="encoder")


def test_a_policy_and_its_attention_are_not_given_together():
    with pytest.raises(tokprune.InvalidValueError, match="attention="):
        tokprune.apply(MODEL, Policy(), attention="plain")
