"""Target "image", cut in several steps: as many tokens leave at each, and the report speaks of the original ones."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import logits
from .image_oracle import by_hand, norms, received, steps
from .oracle import oracle_logits

FALLING = [
    ({1: 12, 2: 8, 3: 4}, "every"),
    ({1: 13, 2: 9, 3: 5}, (1, 2, 3)),
    ({1: 10, 2: 4}, (1, 2)),
    ({2: 13, 3: 9}, (2, 3)),
    ({1: 16, 2: 16, 3: 15}, "every"),
    ({1: 11, 2: 6, 3: 1}, "every"),
]
"""Tokens left of 16 behind each layer, counted by hand, and `after`."""


@pytest.fixture
def kind():
    """One is enough: the image encoder does not know which language model comes later."""
    return "opt"


@pytest.mark.parametrize(("counts", "after"), FALLING, ids=str)
def test_as_many_tokens_leave_at_each_step(opt, counts, after):
    inputs, lengths = prompts("opt"), []
    spies = [
        layer.register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape[1]))
        for layer in (*opt.vision_model.encoder.layers, opt.vision_model.post_layernorm)
    ]
    with tokprune.apply(opt, scorer="first", keep=counts[max(counts)], target="image", after=after) as handle:
        logits(opt, inputs)
    for spy in spies:
        spy.remove()
    assert lengths[:4] == by_hand(opt, inputs, counts)[0].lengths
    assert (handle.report.length_before, handle.report.length_after) == (17, lengths[3])


@pytest.mark.parametrize(("counts", "after"), FALLING[1:4], ids=str)
@pytest.mark.parametrize("points", ["received-attention", "l2-norm"])
def test_every_step_chooses_among_those_that_are_left(model, inputs, counts, after, points):
    hand = {"received-attention": lambda maps, tokens: received(maps[-1:]), "l2-norm": norms}[points]
    encoded, fed = by_hand(model, inputs, counts, hand)
    with tokprune.apply(model, scorer=points, keep=counts[max(counts)], target="image", after=after) as handle:
        assert torch.equal(logits(model, inputs), oracle_logits(model, inputs, fed))
    assert torch.equal(handle.report.kept, encoded.kept)
    assert handle.report.counts.tolist() == [counts[max(counts)]] * 2
    assert torch.allclose(handle.report.scores, encoded.scores, rtol=1e-4)


@pytest.mark.parametrize("counts", [{1: 10, 3: 4}, {1: 12, 2: 8, 3: 4}], ids=str)
def test_all_layers_are_those_since_the_last_cut(model, inputs, counts):
    encoded, fed = by_hand(model, inputs, counts, received)
    scorer = "received-attention:layers=all"
    with tokprune.apply(model, scorer=scorer, target="image", **steps(counts)) as handle:
        assert torch.equal(logits(model, inputs), oracle_logits(model, inputs, fed))
    assert torch.equal(handle.report.kept, encoded.kept)
    assert torch.allclose(handle.report.scores, encoded.scores, rtol=1e-4)


def test_a_token_that_left_early_keeps_the_score_it_left_with(model, inputs):
    once, several = by_hand(model, inputs, {1: 12})[0], by_hand(model, inputs, {1: 12, 2: 8, 3: 4})[0]
    with tokprune.apply(model, scorer="received-attention", keep=4, target="image", after="every") as handle:
        logits(model, inputs)
    gone = ~once.kept
    assert torch.allclose(handle.report.scores[gone], once.scores[gone], rtol=1e-4)
    assert not torch.isclose(handle.report.scores[several.kept], once.scores[several.kept], rtol=1e-2).any()


def test_going_in_steps_can_keep_others_than_going_at_once(model, inputs):
    kept = []
    for after in (3, "every"):
        with tokprune.apply(model, scorer="received-attention", keep=4, target="image", after=after) as handle:
            logits(model, inputs)
        kept.append(handle.report.kept)
    assert not torch.equal(*kept)
