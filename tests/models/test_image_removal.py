"""Target "image": whatever happens while a policy is on a model, removing it leaves exactly the model there was."""

import copy
import gc
import weakref

import pytest
import torch

import tokprune
from tokprune import AlreadyAppliedError, InvalidValueError
from tokprune.testing.tiny_blip2 import prompts, tiny_blip2

from .calls import decoder, forward, generate, logits
from .image_oracle import logits_by_hand
from .test_removal import Broken, BrokenScorer, BrokenSelector, ShapelessSelector, call_and_fail
from .test_threads import greedily, run_together
from .traces import hook_count, same_weights, traces, weights

OPTIONS = {"scorer": "received-attention", "keep": 4, "target": "image"}
STEPS = {**OPTIONS, "after": "every"}
INSIDE = ["embeddings", "encoder", "encoder.layers.0", "encoder.layers.1.self_attn.qkv", "encoder.layers.2.mlp"]
"""Places in the image encoder where something may go wrong: before, at, and between the cuts."""


@pytest.fixture
def kind():
    """One is enough: the image encoder does not know which language model comes later."""
    return "opt"


def stop(module, args):
    raise Broken


def normal(model, inputs):
    with tokprune.apply(model, **STEPS):
        # taps on attention; pruning points; the reader; masks after the first pruning point
        assert hook_count(model) >= 3 + 3 + 1 + 2
        logits(model, inputs)
        generate(model, inputs)


def module_that_raises(model, inputs):
    for path in ("vision_model", *(f"vision_model.{place}" for place in INSIDE), "qformer", "language_model"):
        hook = model.get_submodule(path).register_forward_pre_hook(stop)
        with tokprune.apply(model, **STEPS):
            call_and_fail(model, inputs)
            hook.remove()
            logits(model, inputs)


def scorer_that_raises(model, inputs):
    with tokprune.apply(model, **{**STEPS, "scorer": BrokenScorer()}):
        call_and_fail(model, inputs)


def selector_that_raises(model, inputs):
    with tokprune.apply(model, selector=BrokenSelector(), **STEPS):
        call_and_fail(model, inputs)


def selector_that_breaks_its_promise(model, inputs):
    with tokprune.apply(model, selector=ShapelessSelector(), **OPTIONS):
        call_and_fail(model, inputs, InvalidValueError)


def more_than_there_are(model, inputs):
    with tokprune.apply(model, **{**OPTIONS, "keep": 17}):
        call_and_fail(model, inputs, InvalidValueError)


def exception_in_the_users_block(model, inputs):
    def block():
        with tokprune.apply(model, **OPTIONS):
            logits(model, inputs)
            raise Broken

    with pytest.raises(Broken):
        block()


def removed_twice(model, inputs):
    handle = tokprune.apply(model, **OPTIONS)
    logits(model, inputs)
    assert handle.active
    handle.remove()
    handle.remove()
    assert not handle.active


def applied_twice(model, inputs):
    with tokprune.apply(model, **OPTIONS) as handle:
        expected = logits(model, inputs)
        with pytest.raises(AlreadyAppliedError, match=r"target 'image'.*handle\.remove"):
            tokprune.apply(model, scorer="first", keep=5, target="image", after=3)
        assert tokprune.handles_of(model) == [handle]
        assert torch.equal(logits(model, inputs), expected)


def applied_again_after_removal(model, inputs):
    found = []
    for after in (1, 3, 1):
        with tokprune.apply(model, after=after, **OPTIONS):
            found.append(logits(model, inputs))
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])


def checked(model, inputs):
    with tokprune.apply(model, **STEPS) as handle:
        handle.check({**inputs, **decoder(model, inputs)})


def two_models(model, inputs):
    other = copy.deepcopy(model)
    with tokprune.apply(model, **OPTIONS) as one, tokprune.apply(other, **{**STEPS, "keep": 6}) as two:
        logits(model, inputs)
        assert two.report is None
        logits(other, inputs)
        assert (one.report.counts.tolist(), two.report.counts.tolist()) == ([4, 4], [6, 6])


WHATEVER = [
    normal,
    module_that_raises,
    scorer_that_raises,
    selector_that_raises,
    selector_that_breaks_its_promise,
    more_than_there_are,
    exception_in_the_users_block,
    removed_twice,
    applied_twice,
    applied_again_after_removal,
    checked,
    two_models,
]


@pytest.mark.parametrize("happens", WHATEVER, ids=lambda f: f.__name__.replace("_", " "))
def test_nothing_is_left_behind(model, inputs, happens):
    before = traces(model), hook_count(model), weights(model), logits(model, inputs)
    happens(model, inputs)
    assert traces(model) == before[0]
    assert hook_count(model) == before[1]
    assert same_weights(model.state_dict(), before[2])
    assert torch.equal(logits(model, inputs), before[3])
    assert tokprune.handles_of(model) == []


@pytest.mark.parametrize("place", INSIDE)
def test_no_state_of_a_failed_call_reaches_the_next_one(opt, place):
    inputs, states = prompts("opt"), torch.randn(2, 17, 32)
    with torch.no_grad(), tokprune.apply(opt, **STEPS) as handle:
        expected = logits(opt, inputs)
        hook = opt.vision_model.get_submodule(place).register_forward_pre_hook(stop)
        call_and_fail(opt, inputs)
        hook.remove()
        assert opt.vision_model.encoder(states).last_hidden_state.shape[1] == 17
        assert torch.equal(logits(opt, inputs), expected)
        assert handle.report.counts.tolist() == [4, 4]


@pytest.mark.parametrize("place", INSIDE)
def test_after_a_keyboard_interrupt_the_next_call_is_as_good_as_ever(opt, place):
    def interrupt(module, args):
        raise KeyboardInterrupt

    inputs = prompts("opt")
    with tokprune.apply(opt, **STEPS):
        expected = logits(opt, inputs)
        hook = opt.vision_model.get_submodule(place).register_forward_pre_hook(interrupt)
        call_and_fail(opt, inputs, KeyboardInterrupt)
        hook.remove()
        assert torch.equal(logits(opt, inputs), expected)


def test_a_call_that_fails_leaves_no_report_of_another(opt):
    inputs = prompts("opt")
    with tokprune.apply(opt, **STEPS) as handle:
        logits(opt, inputs)
        assert handle.report is not None
        hook = opt.vision_model.encoder.layers[1].register_forward_pre_hook(stop)
        call_and_fail(opt, inputs)
        hook.remove()
        assert handle.report is None


def test_hooks_of_the_user_survive_and_see_what_goes_on(fresh, inputs):
    lengths, layer = [], fresh.vision_model.encoder.layers[1]
    layer.register_forward_hook(lambda module, args, output: lengths.append((args[0].shape[1], output.shape[1])))
    before = traces(fresh)
    with tokprune.apply(fresh, after=2, **OPTIONS) as handle:
        late = layer.register_forward_hook(lambda module, args, output: lengths.append(output.shape[1]))
        logits(fresh, inputs)
    logits(fresh, inputs)
    late.remove()
    assert lengths == [(17, 5), 5, (17, 17), 17]
    assert traces(fresh) == before
    assert handle.report.counts.tolist() == [4, 4]


def test_no_reference_cycle_keeps_a_removed_model_alive():
    model, inputs = tiny_blip2("opt"), prompts("opt")
    handle = tokprune.apply(model, **STEPS)
    logits(model, inputs)
    handle.remove()
    alive = weakref.ref(model)
    del model, handle
    gc.collect()
    assert alive() is None


def test_threads_on_one_model_get_their_own_results(model, kind):
    batches = [prompts(kind, images=images, pads=(0, n), seed=n) for n, images in enumerate([(1, 1), (1, 2), (1, 1)])]
    before = traces(model)
    with tokprune.apply(model, **STEPS):
        expected = [(logits(model, inputs), greedily(model, inputs)) for inputs in batches]

        def job(number):
            for index in (number, (number + 1) % len(batches)):
                assert torch.equal(logits(model, batches[index]), expected[index][0])
                assert torch.equal(greedily(model, batches[index]), expected[index][1])

        run_together([lambda n=n: job(n) for n in range(len(batches))])
    assert traces(model) == before


def test_two_models_in_two_threads_keep_their_own_policies(fresh, inputs):
    other = copy.deepcopy(fresh)
    with tokprune.apply(fresh, **OPTIONS) as one, tokprune.apply(other, **{**STEPS, "keep": 7}) as two:
        expected = {model: logits(model, inputs) for model in (fresh, other)}

        def job(model, handle, count):
            for _ in range(3):
                assert torch.equal(logits(model, inputs), expected[model])
                assert handle.report.counts.tolist() == [count, count]

        run_together([lambda: job(fresh, one, 4), lambda: job(other, two, 7)])


def test_a_model_inside_another_ones_encoder_is_left_alone(fresh_opt):
    inner, inputs, seen = copy.deepcopy(fresh_opt), prompts("opt"), []
    with tokprune.apply(fresh_opt, **STEPS), tokprune.apply(inner, **{**STEPS, "keep": 7}) as inner_handle:
        expected = logits(fresh_opt, inputs), logits(inner, inputs)
        fresh_opt.vision_model.encoder.layers[1].register_forward_hook(lambda *_: seen.append(logits(inner, inputs)))
        assert torch.equal(logits(fresh_opt, inputs), expected[0])
        assert torch.equal(seen[0], expected[1])
    assert inner_handle.report.counts.tolist() == [7, 7]


def test_hooks_of_accelerate_compose(fresh, inputs):
    accelerate = pytest.importorskip("accelerate")
    expected = logits_by_hand(fresh, inputs, {2: 4})
    accelerate.dispatch_model(fresh, device_map={"": "cpu"}, force_hooks=True)
    with tokprune.apply(fresh, after=2, **OPTIONS):
        assert torch.equal(logits(fresh, inputs), expected)
        assert forward(fresh, inputs).vision_outputs.last_hidden_state.shape[1] == 5
