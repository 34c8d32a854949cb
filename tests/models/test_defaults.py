"""Which scorer a policy without one means."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import tokprune
from tokprune.adapters import Blip2, GenericAdapter
from tokprune.defaults import default_scorer
from tokprune.errors import AdapterError, InvalidValueError
from tokprune.fit import bound_to
from tokprune.testing.tiny_blip2 import prompts, tiny_blip2
from tokprune.testing.tiny_embed import tiny_idefics2, tiny_llava
from tokprune.testing.tiny_encoders import tiny_vit
from tokprune.testing.tiny_inside import tiny_inside


def test_the_adapter_says_which_and_the_handle_shows_it():
    model = tiny_blip2()
    with tokprune.apply(model) as handle:
        model(**prompts())
        assert handle.target == "query"
        assert handle.policy == tokprune.Policy("focus")
        assert handle.report.counts.tolist() == [4, 4]
    with tokprune.apply(model, target="image") as handle:
        assert handle.policy.scorer == tokprune.scorers.ReceivedAttention()
    with tokprune.apply(model, [tokprune.Policy(keep=3), tokprune.Policy(target="image")]) as handles:
        assert [handle.policy.scorer for handle in handles] == [
            tokprune.scorers.Focus(),
            tokprune.scorers.ReceivedAttention(),
        ]


def test_the_aggregator_that_was_given_stays():
    with tokprune.apply(tiny_blip2(), aggregator="mean") as handle:
        assert handle.policy.aggregator == tokprune.aggregators.Mean()


def test_the_place_matters():
    model = tiny_inside()
    with tokprune.apply(model) as handle:
        assert handle.policy.scorer == tokprune.scorers.ReceivedAttention()
    with tokprune.apply(model, after=2) as handle:
        assert handle.policy.scorer == tokprune.scorers.TextAttention()


@pytest.mark.parametrize(
    ("build", "expected"),
    [(tiny_llava, "received-attention"), (tiny_idefics2, "focus"), (tiny_vit, "received-attention")],
)
def test_images_in_a_prompt_and_in_an_encoder(build, expected):
    model = build()
    assert default_scorer(bound_to(model), "image") == expected


@dataclass(frozen=True)
class Named(Blip2):
    """Names a scorer with options for one target, and one that does not fit for the other."""

    default_scorers: ClassVar = {"query": "catp-vote:layers=first", "image": "catp-vote"}


@dataclass(frozen=True)
class Nameless(Blip2):
    """Names nothing, as an adapter of somebody else's may."""

    default_scorers: ClassVar = {}


@dataclass(frozen=True)
class Poor(Nameless):
    """Observes nothing that a default scorer reads."""

    def offers(self, model):
        return {"query": ("text",)}


def test_the_name_may_have_options():
    with tokprune.apply(tiny_blip2(), adapter=Named()) as handle:
        assert handle.policy == tokprune.Policy("catp-vote:layers=first")


def test_where_the_name_does_not_fit_the_first_that_does_is_taken():
    model = tiny_blip2()
    for adapter in (Named(), Nameless()):
        assert default_scorer(bound_to(model, adapter), "image") == "received-attention"
    assert default_scorer(bound_to(model, Nameless()), "query") == "focus"


def test_where_none_fits_the_message_says_what_was_tried():
    with pytest.raises(
        AdapterError, match=r"offers text, and no default scorer fits: tried received-att.* Give scorer="
    ):
        tokprune.apply(tiny_blip2(), adapter=Poor())


def test_a_model_known_by_paths_alone_has_a_default_too():
    model, generic = tiny_blip2(), {"encoder": "vision_model", "reader": "qformer", "protected": 1}
    attention = {"qkv": "encoder.layers.*.self_attn.qkv", "heads": 4}
    for parts, expected in ((attention, "received-attention"), ({"layers": "encoder.layers.*"}, "stride")):
        with tokprune.apply(model, keep=3, adapter=GenericAdapter(**generic, **parts)) as handle:
            model(**prompts())
        assert handle.policy.to_dict()["scorer"] == expected
        assert handle.report.counts.tolist() == [3, 3]


def test_a_policy_that_was_not_applied_cannot_choose():
    with pytest.raises(InvalidValueError, match=r"Policy\(keep=0.5\) has no scorer yet; tokprune.apply"):
        tokprune.Policy().choose(tokprune.Signal(tokens=torch.zeros(1, 4, 2)))
