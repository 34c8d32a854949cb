"""`check_adapter`: the built-in adapters pass, and faulty ones are caught."""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F

from tokprune import builtin
from tokprune.adapters import Blip2, EncoderPruning
from tokprune.adapters.families.qformer import encoder_family, query_family
from tokprune.adapters.prompt.delegated import DelegatedPruning
from tokprune.interfaces import Choice
from tokprune.reductions import Mask
from tokprune.testing import adapters, check_adapter, components, tiny
from tokprune.testing.attentionwatch import AttentionWatch
from tokprune.testing.laws import Law
from tokprune.testing.models import ROWS
from tokprune.testing.tiny_blip2 import BOS, prompts, tiny_blip2


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
                return Choice(kept, None, torch.zeros(signal.shape))

        return super().attach(model, replace(cut, choose=choose), done, owner)


@dataclass(frozen=True)
class WrongScale(Blip2):
    """Takes the root of the whole width for that of one head."""

    def attach(self, model, cut, done, owner):
        return attach_with(model, cut, done, owner, lambda source: replace(source, scale=source.scale / 2))


@dataclass(frozen=True)
class ValuesForKeys(Blip2):
    """Hooks the values where it ought to hook the keys."""

    def attach(self, model, cut, done, owner):
        def wrong(source):
            modules = tuple((path.replace("attention.key", "attention.value"), part) for path, part in source.modules)
            return replace(source, modules=modules)

        return attach_with(model, cut, done, owner, wrong)


@dataclass(frozen=True)
class FusedInAnotherOrder(Blip2):
    """Takes the image encoder's values for its keys."""

    def attach(self, model, cut, done, owner):
        def wrong(source):
            return replace(
                source, modules=tuple((path, part.replace("key value", "value key")) for path, part in source.modules)
            )

        return attach_with(model, cut, done, owner, wrong)


def attach_with(model, cut, done, owner, change):
    """Attach the cut of BLIP-2 with another idea of where attention comes from, which no tap corrects."""

    def untapped(source):
        return change(replace(source, attention=None))

    if cut.target == "image":
        encoder = encoder_family(model, "blip2")
        attention = list(map(untapped, encoder.attention))
        return EncoderPruning(model, replace(encoder, attention=attention), cut, done, owner)
    family = query_family(model, "blip2", asks=False)
    sources = {name: list(map(untapped, layers)) for name, layers in family.sources.items()}
    return DelegatedPruning(model, replace(family, sources=sources), cut, done, owner)


FAULTS = [
    (MatchesAll, "matches its own models and no others"),
    (OffersTooMuch, "Every signal that is offered can be captured"),
    (Unknown, "names its targets"),
    (LeavesAHook, "the hooks, attributes, weights and answers"),
    (WrongScale, "Attention comes as the model computes it"),
    (ValuesForKeys, "Attention comes as the model computes it"),
    (FusedInAnotherOrder, "Attention comes as the model computes it"),
    (Retrains, "does not change what it answers"),
    (Hides, "fewer kept tokens make a shorter sequence"),
    (Swallows, "An exception in the middle"),
    (NeverCuts, "Every signal that is offered can be captured"),
]


ADAPTERS = builtin.register_adapters()
ONE_OF_EACH_KIND = {kind.__mro__[1]: name for name, kind in reversed(ADAPTERS.items())}.values()
"""The first adapter of each base class; the others of a kind are little more than other names of modules."""


@pytest.mark.parametrize(
    "family",
    [pytest.param(each, marks=[] if each in ONE_OF_EACH_KIND else [pytest.mark.slow]) for each in ADAPTERS],
)
def test_a_built_in_adapter_keeps_every_law(family):
    check_adapter(ADAPTERS[family](), *tiny(family))


def test_every_built_in_adapter_has_a_tiny_model():
    assert set(ADAPTERS) <= set(ROWS)


@pytest.mark.parametrize(("family", "stranger"), [("blip2", "instructblip"), ("instructblip", "blip2")])
def test_an_adapter_does_not_take_another_familys_model(family, stranger):
    assert ADAPTERS[family]().matches(tiny(family)[0])
    assert not ADAPTERS[family]().matches(tiny(stranger)[0])


@pytest.mark.parametrize(("adapter", "law"), FAULTS, ids=[adapter.__name__ for adapter, _ in FAULTS])
def test_a_faulty_adapter_is_caught_and_the_law_is_named(adapter, law):
    with pytest.raises(AssertionError, match=law) as caught:
        check_adapter(adapter(), tiny_blip2("opt"), prompts("opt", pads=(0, 0)))
    assert str(caught.value).startswith(f"adapter {adapter.__name__}()")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["opt", "t5"])
def test_the_models_attention_is_seen_however_it_is_computed(kind, attention):
    model, inputs = tiny_blip2(kind, attention), prompts(kind, pads=(0, 0))
    if kind == "t5":
        inputs["decoder_input_ids"] = torch.full((2, 2), BOS)
    with AttentionWatch() as watch, torch.no_grad():
        model(**inputs)
    shapes = [tuple(each.shape[1:]) for each in watch.maps]
    assert shapes.count((4, 17, 17)) == 3  # the image encoder's layers
    assert shapes.count((4, 8, 17)) == 2  # the Q-Former's cross-attention
    assert shapes.count((4, 8, 8)) >= 4  # its self-attention
    check_adapter(Blip2(), model, inputs)


def test_order_and_padding_are_no_difference_and_numbers_are():
    query, key = torch.randn(1, 2, 3, 8) * 3, torch.randn(1, 2, 5, 8)
    with AttentionWatch() as watch:
        F.scaled_dot_product_attention(query, key, key)
    (seen,) = watch.maps
    assert watch.has_seen(seen)
    assert watch.has_seen(seen.roll(2, dims=3).flip(2))
    assert watch.has_seen(seen * torch.tensor([1.0, 0.0, 1.0])[:, None])
    assert not watch.has_seen((seen.log() * 1.5).softmax(dim=-1))
    assert watch.has_seen(seen[:, :, :2])  # not all rows vote
    assert not watch.has_seen(seen.flip(1))


def test_grouped_heads_causal_masks_and_scales_are_understood():
    query, key = torch.randn(1, 4, 3, 8), torch.randn(1, 2, 3, 8)
    with AttentionWatch() as watch:
        F.scaled_dot_product_attention(query, key, key, is_causal=True, scale=0.5, enable_gqa=True)
    every = key.repeat_interleave(2, dim=1)
    logits = (query @ every.transpose(2, 3) * 0.5).masked_fill(~torch.ones(3, 3).tril().bool(), -torch.inf)
    assert torch.allclose(watch.maps[0], logits.softmax(dim=-1), atol=1e-6)


def test_every_law_has_caught_something():
    own = [Law("adapter", None, law).sentence for law in adapters.LAWS if law not in components.LAWS]
    assert [sentence for sentence in own if not any(words in sentence for _, words in FAULTS)] == []
