"""A selector or a reduction that wants signals gets them, in every target, and only if the model offers them."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import tokprune
from tokprune import AdapterError, scorers
from tokprune.functional import merge_tokens, top_k
from tokprune.testing.tiny_blip2 import prompts, tiny_blip2

from .calls import logits


@pytest.fixture
def kind():
    return "opt"


SEEN = []


@dataclass(frozen=True)
class Reading:
    """Merges, and notes the signals it was given."""

    wants: ClassVar = ("encoder_attention", "self_attention")
    removes: ClassVar = True
    reads_tokens: ClassVar = True

    def __call__(self, tokens, kept, sizes=None, *, encoder_attention, **signals):
        SEEN.append((tokens, [votes.layer for votes in encoder_attention], encoder_attention[-1].shape, signals))
        return merge_tokens(tokens, kept, sizes)


@dataclass(frozen=True)
class ReadingLast(Reading):
    """The same, of the last layer."""

    layers_read: ClassVar = {"encoder_attention": "last"}

    def __call__(self, tokens, kept, sizes=None, *, encoder_attention, **signals):
        SEEN.append(encoder_attention)
        return merge_tokens(tokens, kept, sizes)


@dataclass(frozen=True)
class WantsGrid(Reading):
    """Wants what BLIP-2's query tokens do not have."""

    wants: ClassVar = ("grid",)


@dataclass(frozen=True)
class ForImages(Reading):
    """Is for image tokens."""

    targets: ClassVar = ("image",)


@dataclass(frozen=True)
class WantsTokens(Reading):
    """Wants what it is given anyway."""

    wants: ClassVar = ("tokens",)


@dataclass(frozen=True)
class SelectsByTokens:
    """Keeps the longest tokens, whatever the scores."""

    wants: ClassVar = ("tokens",)
    uniform: ClassVar = True

    def __call__(self, scores, keep, *, tokens):
        return top_k(tokens.float().norm(dim=-1), keep)


@pytest.fixture(autouse=True)
def nothing_seen():
    SEEN.clear()


@pytest.mark.parametrize(("target", "voters"), [("query", 17), ("image", 17)])
def test_a_reduction_gets_the_signals_it_wants(model, inputs, target, voters):
    with tokprune.apply(model, scorer="l2-norm", keep=3, reduction=Reading(), target=target) as handle:
        reading = logits(model, inputs)
    ((tokens, layers, shape, signals),) = SEEN
    assert layers == ([0, 1, 2] if target == "query" else [0])
    assert shape[:2] == (tokens.shape[0], 4 * voters)
    assert [*signals] == ["self_attention"]
    assert len(signals["self_attention"]) == len(layers) + (target == "query")
    assert handle.report.sizes.sum(dim=1).tolist() == [tokens.shape[1]] * 2
    with tokprune.apply(model, scorer="l2-norm", keep=3, reduction="merge", target=target):
        assert torch.equal(logits(model, inputs), reading)


def test_every_cut_gives_the_signals_of_its_own_layers(model, inputs):
    with tokprune.apply(model, scorer="l2-norm", keep=3, reduction=Reading(), target="image", after="every"):
        logits(model, inputs)
    assert [tokens.shape[1] for tokens, *_ in SEEN] == [shape[2] for _, _, shape, _ in SEEN]
    assert [layers for _, layers, *_ in SEEN] == [[0], [1], [2]]


def test_only_the_layers_that_a_reduction_reads_are_captured(model, inputs):
    with tokprune.apply(model, scorer="l2-norm", keep=3, reduction=ReadingLast(), target="image", after=2):
        logits(model, inputs)
    assert "captured [1] of 2" in repr(SEEN[0])


@pytest.mark.parametrize(("layers", "captured"), [("last", "[1]"), ("all", "[0, 1]"), ("first", "[0, 1]")])
def test_layers_that_two_components_read_are_all_captured(model, inputs, layers, captured):
    scorer = scorers.ReceivedAttention(layers)
    with tokprune.apply(model, scorer=scorer, keep=3, reduction=ReadingLast(), target="image", after=2):
        logits(model, inputs)
    assert f"captured {captured} of 2" in repr(SEEN[0])


def test_a_reduction_that_wants_what_is_not_offered_is_refused_by_name(model):
    with pytest.raises(AdapterError, match=r"reduction WantsGrid\(\) needs 'grid'"):
        tokprune.apply(model, scorer="l2-norm", reduction=WantsGrid(), target="query")
    assert not tokprune.handles_of(model)


def test_a_reduction_for_another_target_is_refused_before_anything_runs(model, inputs):
    with pytest.raises(AdapterError, match=r"reduction ForImages\(\) is for 'image' tokens only.*Fitting scorers"):
        tokprune.apply(model, scorer="l2-norm", reduction=ForImages(), target="query")
    assert not tokprune.handles_of(model)
    with tokprune.apply(model, scorer="l2-norm", reduction=ForImages(), target="image", keep=3):
        logits(model, inputs)
    assert SEEN


def test_a_reduction_that_wants_tokens_is_told_that_it_gets_them_anyway():
    with pytest.raises(ValueError, match=r"reduction WantsTokens\(\) wants 'tokens'.*first argument"):
        tokprune.Policy(reduction=WantsTokens())


def test_a_selector_gets_the_signals_it_wants(model, inputs):
    found = []
    for options in ({"scorer": "first", "selector": SelectsByTokens()}, {"scorer": "l2-norm"}):
        with tokprune.apply(model, keep=3, **options) as handle:
            logits(model, inputs)
        found.append(handle.report.kept)
    assert torch.equal(*found)


def test_the_oracle_of_speed_hands_over_what_such_a_reduction_made(model, inputs):
    from tokprune.bench.speed.choices import gift_of, recorded

    policy = tokprune.Policy("l2-norm", keep=3, reduction=Reading(), target="image", after=2, attention="plain")
    _, choices, places = recorded(model, [policy], lambda: logits(model, inputs))
    gift = gift_of(model, inputs, choices, places)
    assert [cut.tokens.shape for cut in gift.cuts] == [(2, 4, 32)]
    assert len(SEEN) == 2
    assert torch.allclose(SEEN[0][0], SEEN[1][0], atol=1e-5)


def test_a_tiny_model_offers_what_these_tests_are_about():
    assert "grid" not in tokprune.adapter_for(model := tiny_blip2("opt")).offers(model)["query"]
    assert prompts("opt")["pixel_values"].shape[0] == 2
