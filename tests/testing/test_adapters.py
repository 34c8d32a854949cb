"""`check_adapter`: the built-in adapter passes, and faulty ones are caught."""

from dataclasses import dataclass

import pytest

from tokprune.adapters import Blip2
from tokprune.testing import check_adapter
from tokprune.testing.tiny_blip2 import prompts, tiny_blip2


@pytest.fixture(scope="module")
def tiny():
    """A tiny BLIP-2 and the inputs of one forward."""
    return tiny_blip2("opt"), prompts("opt", pads=(0, 0))


@dataclass(frozen=True)
class MatchesAll(Blip2):
    """Takes every model for its own."""

    def matches(self, model):
        return True


@dataclass(frozen=True)
class OffersTooMuch(Blip2):
    """Offers a signal that never comes."""

    def offers(self, model):
        return {"query": ("tokens", "grid")}


@dataclass(frozen=True)
class Unknown(Blip2):
    """Offers a signal that there is not."""

    def offers(self, model):
        return {"query": ("tokens", "gradients")}


@dataclass(frozen=True)
class LeavesAHook(Blip2):
    """Adds a hook of its own and forgets it."""

    def attach(self, model, cut, done, owner):
        attachment = super().attach(model, cut, done, owner)
        model.qformer.register_forward_hook(lambda module, args, output: None)
        return attachment


@dataclass(frozen=True)
class NeverCuts(Blip2):
    """Attaches nothing."""

    def attach(self, model, cut, done, owner):
        attachment = super().attach(model, cut, done, owner)
        attachment.remove()
        return attachment


FAULTS = [
    (MatchesAll, "matches its own models and no others"),
    (OffersTooMuch, "Every signal that is offered can be captured"),
    (Unknown, "names its targets"),
    (LeavesAHook, "the hooks, attributes, weights and answers"),
    (NeverCuts, "Every signal that is offered can be captured"),
]


def test_the_blip2_adapter_keeps_every_law(tiny):
    check_adapter(Blip2(), *tiny)


@pytest.mark.parametrize(("adapter", "law"), FAULTS, ids=[adapter.__name__ for adapter, _ in FAULTS])
def test_a_faulty_adapter_is_caught_and_the_law_is_named(adapter, law):
    with pytest.raises(AssertionError, match=law) as caught:
        check_adapter(adapter(), tiny_blip2("opt"), prompts("opt", pads=(0, 0)))
    assert str(caught.value).startswith(f"adapter {adapter.__name__}()")
