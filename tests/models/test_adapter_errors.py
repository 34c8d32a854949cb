"""What does not fit is refused before the model is touched, in words that help."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import tokprune
from tokprune import AdapterError, InvalidValueError, UnknownNameError

from .calls import logits
from .traces import traces


@dataclass(frozen=True)
class NeedsGrid:
    needs: ClassVar[tuple[str, ...]] = ("tokens", "grid")
    aggregator: ClassVar[str] = "sum"

    def __call__(self, signal):
        yield tokprune.Votes(torch.full((*signal.shape[:1], 1, signal.shape[1]), float(signal.grid[0])))


@dataclass(frozen=True)
class Curious:
    """Reads a signal that it did not list."""

    needs: ClassVar[tuple[str, ...]] = ("tokens",)
    aggregator: ClassVar[str] = "sum"

    def __call__(self, signal):
        yield from signal.self_attention


@dataclass(frozen=True)
class OneLayer:
    """Reads a layer that it said it would not."""

    layers_read: ClassVar[dict[str, str]] = {"cross_attention": "first"}
    needs: ClassVar[tuple[str, ...]] = ("cross_attention",)
    aggregator: ClassVar[str] = "borda"

    def __call__(self, signal):
        yield signal.cross_attention[1]


REFUSED = {
    "a linear layer": (
        lambda m: tokprune.apply(torch.nn.Linear(2, 2)),
        AdapterError,
        "no adapter knows .*Linear.*blip2",
    ),
    "no module": (lambda m: tokprune.apply("gpt2"), AdapterError, "expected a torch.nn.Module, got str"),
    "a part of the model": (lambda m: tokprune.apply(m.language_model), AdapterError, "no adapter knows"),
    "unknown adapter": (lambda m: tokprune.apply(m, adapter="blip3"), UnknownNameError, "blip3.*blip2"),
    "unfit adapter": (
        lambda m: tokprune.apply(torch.nn.Linear(2, 2), adapter="blip2"),
        AdapterError,
        "does not fit a Linear",
    ),
    "unknown target": (
        lambda m: tokprune.apply(m, target="audio"),
        AdapterError,
        "cannot cut target 'audio'.*its targets: 'query', 'image'",
    ),
    "missing signal": (
        lambda m: tokprune.apply(m, scorer=NeedsGrid()),
        AdapterError,
        "needs 'grid'.*target 'query' offers 'tokens', 'cross_attention'.*Fitting scorers: catp-vote.*l2-norm",
    ),
    "layer out of range": (
        lambda m: tokprune.apply(m, scorer="catp-vote:layers=[0,2]"),
        InvalidValueError,
        "there are 2 layers",
    ),
    "layer out of range from the end": (
        lambda m: tokprune.apply(m, scorer="self-attention:layers=[-5]"),
        InvalidValueError,
        "there are 4 layers",
    ),
    "one layer twice": (
        lambda m: tokprune.apply(m, scorer="catp-vote:layers=[0,-2]"),
        InvalidValueError,
        "layers",
    ),
    "policy and parts": (
        lambda m: tokprune.apply(m, tokprune.Policy(), keep=3),
        InvalidValueError,
        "not both.*keep",
    ),
    "observing nothing known": (
        lambda m: tokprune.observe(m, {}, needs=("grid",)),
        AdapterError,
        "tokprune.observe needs 'grid'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_anything_changes(model, case):
    act, error, message = REFUSED[case]
    before = traces(model)
    with pytest.raises(error, match=message):
        act(model)
    assert traces(model) == before


@pytest.mark.parametrize(
    ("scorer", "message"),
    [(Curious(), "'self_attention' was not observed.*offers 'tokens'"), (OneLayer(), "layer 1 .* was not captured")],
    ids=["unlisted signal", "unlisted layer"],
)
def test_a_scorer_that_reads_more_than_it_lists_is_told_so(model, inputs, scorer, message):
    with tokprune.apply(model, scorer=scorer), pytest.raises(tokprune.SignalError, match=message):
        logits(model, inputs)


def test_the_adapter_may_be_named_or_given(model, inputs):
    for adapter in ("blip2", tokprune.adapter_for(model)):
        with tokprune.apply(model, keep=3, adapter=adapter, target="query") as handle:
            logits(model, inputs)
        assert handle.report.counts.tolist() == [3, 3]


def test_a_policy_can_be_given_whole(model, inputs):
    with tokprune.apply(model, tokprune.Policy("l2-norm", keep=2)) as handle:
        logits(model, inputs)
    assert handle.report.counts.tolist() == [2, 2]


def test_a_handle_prints_what_it_is_and_where(model):
    handle = tokprune.apply(model, scorer="l2-norm", keep=2)
    assert repr(handle).startswith("Handle(Policy(scorer='l2-norm', keep=2) on Blip2ForConditionalGeneration")
    handle.remove()
    assert "removed from" in repr(handle)


def test_an_adapter_takes_no_part_of_a_model_for_the_model(either):
    for part in (either.vision_model, either.qformer, either.language_model):
        with pytest.raises(AdapterError, match="no adapter"):
            tokprune.apply(part, keep=3)
