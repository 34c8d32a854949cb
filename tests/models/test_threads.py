"""Two threads, or two models, never mix."""

import copy

import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import generate, logits
from .threads import run_together
from .traces import traces


def greedily(model, inputs):
    """No seed: it is shared by all threads."""
    with torch.no_grad():
        return model.generate(**inputs, do_sample=False, max_new_tokens=4)


def test_six_threads_on_one_model_get_their_own_results(model, kind):
    batches = [prompts(kind, images=images, pads=(0, n), seed=n) for n, images in enumerate([(1, 1), (1, 2)] * 3)]
    before = traces(model)
    with tokprune.apply(model, scorer="catp-weighted", keep=3, positions="preserve"):
        expected = [(logits(model, inputs), greedily(model, inputs)) for inputs in batches]

        def job(number):
            for turn in range(2):
                index = (number + turn) % len(batches)
                assert torch.equal(logits(model, batches[index]), expected[index][0])
                assert torch.equal(greedily(model, batches[index]), expected[index][1])

        run_together([lambda n=n: job(n) for n in range(6)])
    assert traces(model) == before


def test_two_models_in_two_threads_keep_their_own_policies(fresh, kind):
    other, inputs = copy.deepcopy(fresh), prompts(kind)
    with tokprune.apply(fresh, keep=2) as one, tokprune.apply(other, keep=6, scorer="l2-norm") as two:
        expected = {model: (logits(model, inputs), greedily(model, inputs)) for model in (fresh, other)}

        def job(model, handle, count):
            for _ in range(2):
                assert torch.equal(logits(model, inputs), expected[model][0])
                assert handle.report.counts.tolist() == [count, count]
                assert torch.equal(greedily(model, inputs), expected[model][1])

        run_together([lambda: job(fresh, one, 2), lambda: job(other, two, 6)])


def test_a_model_inside_another_ones_call_is_left_alone(fresh_opt):
    """A call of one pruned model while another one is under way."""
    inner, inputs, seen = copy.deepcopy(fresh_opt), prompts("opt"), []
    with tokprune.apply(fresh_opt, keep=3) as outer_handle, tokprune.apply(inner, keep=6) as inner_handle:
        expected = logits(fresh_opt, inputs), logits(inner, inputs)
        fresh_opt.qformer.register_forward_hook(lambda module, args, output: seen.append(logits(inner, inputs)))
        assert torch.equal(logits(fresh_opt, inputs), expected[0])
        assert torch.equal(seen[0], expected[1])
        generate(fresh_opt, inputs)
    assert outer_handle.report.counts.tolist() == [3, 3]
    assert inner_handle.report.counts.tolist() == [6, 6]
