"""Target "image": keep=k is bitwise the encoder run by hand, from which all but k image tokens are taken away."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import MODES, answer, generate, logits
from .image_oracle import TOKENS, answer_by_hand, by_hand, first, logits_by_hand, steps
from .keeping import Keep
from .oracle import oracle_logits
from .prompts import BATCHES

PLACES = {"1": {1: 4}, "2": {2: 4}, "3": {3: 4}, "(1, 3)": {1: 10, 3: 4}, "every": {1: 12, 2: 8, 3: 4}}
"""Where the encoder is cut, and how many of 16 tokens are left there."""


@pytest.mark.parametrize("after", PLACES)
def test_logits_are_those_of_the_encoder_run_by_hand(either, laid, after):
    encoded, fed = by_hand(either, laid, PLACES[after])
    with tokprune.apply(either, scorer="received-attention", target="image", **steps(PLACES[after])) as handle:
        assert torch.equal(logits(either, laid), oracle_logits(either, laid, fed))
    assert torch.equal(handle.report.kept, encoded.kept)
    assert (handle.report.length_before, handle.report.length_after) == (17, 5)


@pytest.mark.parametrize("batch", BATCHES)
def test_every_batch_gets_the_logits_by_hand(either, lay, batch):
    inputs = lay(**BATCHES[batch])
    expected = logits_by_hand(either, inputs, {2: 3})
    with tokprune.apply(either, scorer="received-attention", target="image", after=2, keep=3):
        assert torch.equal(logits(either, inputs), expected)


@pytest.mark.parametrize("mode", ["greedy", "beams", "sampling", "two of three beams", "static cache"])
def test_generated_tokens_are_those_of_the_encoder_run_by_hand(either, laid, mode):
    expected = answer_by_hand(either, laid, {1: 10, 3: 4}, MODES[mode])
    with tokprune.apply(either, scorer="received-attention", target="image", after=(1, 3), keep=4):
        output = generate(either, laid, **MODES[mode])
    assert torch.equal(answer(either, laid, output), expected)


SAME = [(0.34, 1), (1 / 3, 1), (0.01, 1), (0.6, 2), (2 / 3, 2), (1.0, 3), ((2,), 2), (None, 1), ("every", (1, 2, 3))]


@pytest.mark.parametrize(("after", "layers"), SAME, ids=str)
def test_a_share_of_the_depth_is_the_nearest_number_of_layers(opt, after, layers):
    found = []
    for each in (after, layers):
        with tokprune.apply(opt, scorer="received-attention", target="image", after=each, keep=4):
            found.append(logits(opt, prompts("opt")))
    assert torch.equal(*found)


def test_where_the_cut_is_makes_a_difference(either, laid):
    found = []
    for after in (1, 2, 3, (1, 3), "every"):
        with tokprune.apply(either, scorer="received-attention", target="image", after=after, keep=4):
            found.append(logits(either, laid)[:, -1])
    differences = [(one - other).abs().max() for n, one in enumerate(found) for other in found[:n]]
    assert min(differences) > 1e-3


def test_fewer_image_tokens_really_give_other_logits_and_other_answers(either, laid):
    before = logits(either, laid)[:, -1], generate(either, laid)
    with tokprune.apply(either, scorer="received-attention", keep=1, target="image"):
        assert (logits(either, laid)[:, -1] - before[0]).abs().max() > 0.1
        assert not torch.equal(generate(either, laid), before[1])


@pytest.mark.parametrize("keep", [0.5, 0.26, 0.01, 5])
def test_a_ratio_of_the_image_tokens_is_rounded_up(opt, keep):
    count = {0.5: 8, 0.26: 5, 0.01: 1, 5: 5}[keep]
    with tokprune.apply(opt, scorer="received-attention", keep=keep, target="image") as handle:
        logits(opt, prompts("opt"))
    assert handle.report.counts.tolist() == [count, count]
    assert handle.report.length_after == count + 1


@pytest.mark.parametrize("seed", range(3))
def test_any_kept_set_goes_on_in_its_original_order(either, laid, seed):
    generator = torch.Generator().manual_seed(seed)
    kept = torch.stack([torch.randperm(TOKENS, generator=generator) < 3 + seed for _ in range(2)])
    expected = logits_by_hand(either, laid, {2: 3 + seed}, lambda maps, tokens: kept.float().tolist())
    with tokprune.apply(either, scorer=Keep(kept), keep=3 + seed, target="image", after=2) as handle:
        assert torch.equal(logits(either, laid), expected)
    assert torch.equal(handle.report.kept, kept)


def test_cls_goes_on_in_front_whatever_is_kept(either, laid):
    entered = []
    hook = either.vision_model.encoder.layers[1].register_forward_pre_hook(lambda m, args: entered.append(args[0]))
    logits(either, laid)
    with tokprune.apply(either, scorer="first", keep=2, target="image", after=1):
        logits(either, laid)
    hook.remove()
    assert torch.equal(entered[1], entered[0][:, :3])


def test_the_pixels_may_be_positional(opt):
    inputs = prompts("opt")
    with tokprune.apply(opt, scorer="first", keep=3, target="image"), torch.no_grad():
        assert torch.equal(opt(*inputs.values()).logits, logits_by_hand(opt, inputs, {1: 3}, first))
