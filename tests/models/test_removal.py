"""Whatever happens while a policy is on a model, removing it leaves exactly the model there was."""

import copy
import gc
import weakref
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import tokprune
from tokprune import AlreadyAppliedError, InvalidValueError
from tokprune.testing.tiny_blip2 import prompts, tiny_blip2

from .calls import decoder, generate, logits
from .traces import hook_count, same_weights, traces, weights


class Broken(Exception):
    """Raised on purpose."""


@dataclass(frozen=True)
class BrokenScorer:
    needs: ClassVar[tuple[str, ...]] = ("tokens",)
    aggregator: ClassVar[str] = "sum"

    def __call__(self, signal):
        raise Broken


@dataclass(frozen=True)
class BrokenSelector:
    uniform: ClassVar[bool] = True

    def __call__(self, scores, keep):
        raise Broken


@dataclass(frozen=True)
class ShapelessSelector:
    uniform: ClassVar[bool] = True

    def __call__(self, scores, keep):
        return scores > 1e9  # right shape, right type, nothing kept


def call_and_fail(model, inputs, error=Broken):
    for call in (logits, generate):
        with pytest.raises(error):
            call(model, inputs)


def normal(model, inputs):
    with tokprune.apply(model, scorer="catp-weighted", keep=3, positions="preserve"):
        assert hook_count(model) > 5
        logits(model, inputs)
        generate(model, inputs)


def wrong_argument(model, inputs):
    for wrong in (
        {"keep": 0},
        {"keep": True},
        {"keep": 1.5},
        {"scorer": "catp-vot"},
        {"reduction": "shred"},
        {"target": "audio"},
        {"selector": "top"},
        {"positions": "auto"},
        {"aggregator": 3},
        {"adapter": "no-such"},
        {"policy": "catp-vote"},
        {"scorer": "catp-vote:layers=[7]"},
    ):
        with pytest.raises((ValueError, TypeError)):
            tokprune.apply(model, **wrong)


def too_large_a_count(model, inputs):
    with tokprune.apply(model, keep=9):
        call_and_fail(model, inputs, InvalidValueError)


def module_that_raises(model, inputs):
    def stop(module, args):
        raise Broken

    for path in ("vision_model", "qformer.encoder.layer.2", "language_projection", "language_model"):
        hook = model.get_submodule(path).register_forward_pre_hook(stop)
        with tokprune.apply(model, keep=3):
            call_and_fail(model, inputs)
            hook.remove()
            logits(model, inputs)


def scorer_that_raises(model, inputs):
    with tokprune.apply(model, scorer=BrokenScorer()):
        call_and_fail(model, inputs)


def selector_that_raises(model, inputs):
    with tokprune.apply(model, selector=BrokenSelector()):
        call_and_fail(model, inputs)


def exception_in_the_users_block(model, inputs):
    def block():
        with tokprune.apply(model, keep=3):
            logits(model, inputs)
            raise Broken

    with pytest.raises(Broken):
        block()


def wrong_call(model, inputs):
    with tokprune.apply(model, keep=3):
        call_and_fail(model, {**inputs, "attention_mask": torch.ones(2, 3, dtype=torch.long)}, Exception)
        logits(model, inputs)


def removed_twice(model, inputs):
    handle = tokprune.apply(model, keep=3)
    logits(model, inputs)
    assert handle.active
    handle.remove()
    handle.remove()
    assert not handle.active


def applied_twice(model, inputs):
    with tokprune.apply(model, keep=3) as handle:
        expected = logits(model, inputs)
        with pytest.raises(AlreadyAppliedError, match=r"handle\.remove"):
            tokprune.apply(model, keep=5)
        assert tokprune.handles_of(model) == [handle]
        assert torch.equal(logits(model, inputs), expected)


def applied_again_after_removal(model, inputs):
    with tokprune.apply(model, keep=3):
        expected = logits(model, inputs)
    with tokprune.apply(model, keep=5):
        assert not torch.equal(logits(model, inputs)[:, -1], expected[:, -1])
    with tokprune.apply(model, keep=3):
        assert torch.equal(logits(model, inputs), expected)


def checked(model, inputs):
    with tokprune.apply(model, keep=3) as handle:
        handle.check({**inputs, **decoder(model, inputs)})


def two_models(model, inputs):
    other = copy.deepcopy(model)
    with tokprune.apply(model, keep=3) as one, tokprune.apply(other, keep=5, scorer="l2-norm") as two:
        assert logits(model, inputs).isfinite().all()
        assert one.report.counts.tolist() == [3, 3]
        assert two.report is None
        logits(other, inputs)
        assert two.report.counts.tolist() == [5, 5]
        assert one.report.counts.tolist() == [3, 3]
        one.remove()
        logits(model, inputs)
        logits(other, inputs)
        assert one.report.counts.tolist() == [3, 3]


WHATEVER = [
    normal,
    wrong_argument,
    too_large_a_count,
    module_that_raises,
    scorer_that_raises,
    selector_that_raises,
    exception_in_the_users_block,
    wrong_call,
    removed_twice,
    applied_twice,
    applied_again_after_removal,
    checked,
    two_models,
]


@pytest.mark.parametrize("happens", WHATEVER, ids=lambda f: f.__name__.replace("_", " "))
def test_nothing_is_left_behind(model, inputs, happens):
    before = traces(model), hook_count(model), weights(model), logits(model, inputs), generate(model, inputs)
    happens(model, inputs)
    assert traces(model) == before[0]
    assert hook_count(model) == before[1]
    assert same_weights(model.state_dict(), before[2])
    assert torch.equal(logits(model, inputs), before[3])
    assert torch.equal(generate(model, inputs), before[4])
    assert tokprune.handles_of(model) == []


@pytest.mark.parametrize("path", ["vision_model", "language_model"])
def test_no_state_of_a_failed_call_reaches_the_next_one(opt, path):
    inputs = prompts("opt")
    embeds = opt.get_input_embeddings()(inputs["input_ids"]).detach()
    with tokprune.apply(opt, keep=3) as handle:
        expected = logits(opt, inputs)
        for call in (logits, generate):
            interrupt(opt, path, call, Broken)
            with torch.no_grad():
                assert opt.language_model(inputs_embeds=embeds).logits.shape[1] == 14
        assert torch.equal(logits(opt, inputs), expected)
        assert handle.report.counts.tolist() == [3, 3]


def interrupt(model, path, call, error):
    def stop(module, args):
        raise error

    hook = model.get_submodule(path).register_forward_pre_hook(stop)
    with pytest.raises(error):
        call(model, prompts("opt"))
    hook.remove()


@pytest.mark.parametrize("path", ["vision_model", "language_model"])
def test_after_a_keyboard_interrupt_the_next_call_is_as_good_as_ever(opt, path):
    inputs = prompts("opt")
    with tokprune.apply(opt, keep=3):
        expected = logits(opt, inputs)
        for call in (logits, generate):
            interrupt(opt, path, call, KeyboardInterrupt)
            assert torch.equal(logits(opt, inputs), expected)


def test_hooks_and_attributes_of_the_user_survive(fresh, inputs):
    calls = []
    fresh.register_forward_pre_hook(lambda module, args: calls.append("before"))
    fresh.language_model.register_forward_hook(lambda module, args, output: calls.append("inside"))
    original = fresh.generate
    fresh.generate = lambda *args, **kwargs: (calls.append("generate"), original(*args, **kwargs))[1]
    mine, before = fresh.generate, traces(fresh)
    with tokprune.apply(fresh, keep=3) as handle:
        logits(fresh, inputs)
        assert calls == ["before", "inside"]
        assert generate(fresh, inputs).shape[0] == 2
        assert "generate" in calls
        assert handle.report.counts.tolist() == [3, 3]
    assert traces(fresh) == before
    assert fresh.generate is mine


def test_a_hook_added_while_pruned_stays_after_removal(fresh, inputs):
    calls = []
    handle = tokprune.apply(fresh, keep=3)
    fresh.register_forward_hook(lambda module, args, output: calls.append(output.logits.shape))
    handle.remove()
    logits(fresh, inputs)
    assert len(calls) == 1


def test_a_selector_that_breaks_its_promise_is_caught_and_leaves_nothing_behind(model, inputs):
    before = logits(model, inputs)
    message = "promises the same number .*expected 4 each, got \\[0, 0\\]"
    with tokprune.apply(model, selector=ShapelessSelector()), pytest.raises(InvalidValueError, match=message):
        logits(model, inputs)
    assert torch.equal(logits(model, inputs), before)


def test_no_reference_cycle_keeps_a_removed_model_alive():
    model, inputs = tiny_blip2("opt"), prompts("opt")
    handle = tokprune.apply(model, keep=3)
    logits(model, inputs)
    generate(model, inputs)
    handle.remove()
    alive = weakref.ref(model)
    del model, handle
    gc.collect()
    assert alive() is None
