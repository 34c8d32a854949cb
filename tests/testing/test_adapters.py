"""`check_adapter`: the built-in adapters pass, and faulty ones are caught."""

from dataclasses import dataclass, replace

import pytest
import torch

from tokprune import builtin
from tokprune.adapters import Blip2, InstructBlip
from tokprune.reductions import Mask
from tokprune.testing import adapters, check_adapter, components
from tokprune.testing.failures import Law
from tokprune.testing.tiny import EXAMPLES
from tokprune.testing.tiny_blip2 import prompts, tiny_blip2


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


@dataclass(frozen=True)
class Retrains(Blip2):
    """Changes a weight when it is attached, and forgets that too."""

    def attach(self, model, cut, done, owner):
        attachment = super().attach(model, cut, done, owner)
        with torch.no_grad():
            model.language_projection.bias.add_(1.0)
        return attachment


@dataclass(frozen=True)
class Hides(Blip2):
    """Hides tokens where it ought to remove them."""

    def offers(self, model):
        return {"query": super().offers(model)["query"]}

    def attach(self, model, cut, done, owner):
        return super().attach(model, replace(cut, reduction=Mask()), done, owner)


@dataclass(frozen=True)
class Swallows(Blip2):
    """Goes on as if nothing had happened when choosing fails."""

    def attach(self, model, cut, done, owner):
        def choose(signal, keep=None):
            try:
                return cut.choose(signal, keep)
            except BaseException:
                kept = torch.zeros(signal.shape, dtype=torch.bool)
                kept[:, :1] = True
                return kept

        return super().attach(model, replace(cut, choose=choose), done, owner)


FAULTS = [
    (MatchesAll, "matches its own models and no others"),
    (OffersTooMuch, "Every signal that is offered can be captured"),
    (Unknown, "names its targets"),
    (LeavesAHook, "the hooks, attributes, weights and answers"),
    (Retrains, "does not change what it answers"),
    (Hides, "fewer kept tokens make a shorter sequence"),
    (Swallows, "An exception in the middle"),
    (NeverCuts, "Every signal that is offered can be captured"),
]


@pytest.mark.parametrize("adapter", EXAMPLES)
def test_a_built_in_adapter_keeps_every_law(adapter):
    check_adapter(adapter(), *EXAMPLES[adapter]())


def test_every_built_in_adapter_has_an_example():
    assert set(builtin.register_adapters().values()) == set(EXAMPLES)


@pytest.mark.parametrize(("adapter", "stranger"), [(Blip2, InstructBlip), (InstructBlip, Blip2)])
def test_an_adapter_does_not_take_another_familys_model(adapter, stranger):
    assert adapter().matches(EXAMPLES[adapter]()[0])
    assert not adapter().matches(EXAMPLES[stranger]()[0])


@pytest.mark.parametrize(("adapter", "law"), FAULTS, ids=[adapter.__name__ for adapter, _ in FAULTS])
def test_a_faulty_adapter_is_caught_and_the_law_is_named(adapter, law):
    with pytest.raises(AssertionError, match=law) as caught:
        check_adapter(adapter(), tiny_blip2("opt"), prompts("opt", pads=(0, 0)))
    assert str(caught.value).startswith(f"adapter {adapter.__name__}()")


def test_every_law_has_caught_something():
    own = [Law("adapter", None, law).sentence for law in adapters.LAWS if law not in components.LAWS]
    assert [sentence for sentence in own if not any(words in sentence for _, words in FAULTS)] == []
