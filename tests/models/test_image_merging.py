"""Target "image", reduction "merge": dropped image tokens join kept ones, which weigh what they stand for."""

import pytest
import torch

import tokprune

from .calls import MODES, answer, generate, logits
from .image_oracle import answer_by_hand, by_hand, norms, steps
from .oracle import oracle_logits

COUNTS = [{1: 4}, {2: 7}, {1: 10, 3: 4}, {1: 12, 2: 8, 3: 4}, {1: 11, 2: 6, 3: 1}]


@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_merged_image_tokens_are_those_merged_by_hand(either, laid, counts):
    encoded, fed = by_hand(either, laid, counts, norms, merge=True)
    options = {"scorer": "l2-norm", "reduction": "merge", "target": "image", "attention": "plain"}
    with tokprune.apply(either, **options, **steps(counts)) as handle:
        assert torch.allclose(logits(either, laid), oracle_logits(either, laid, fed), atol=1e-4)
    assert torch.equal(handle.report.kept, encoded.kept)
    assert torch.equal(handle.report.sizes, encoded.sizes)
    assert torch.allclose(handle.report.scores, encoded.scores, rtol=1e-4)


@pytest.mark.parametrize("mode", ["greedy", "beams"])
def test_merged_image_tokens_give_the_answers_by_hand(model, inputs, mode):
    expected = answer_by_hand(model, inputs, {1: 10, 3: 4}, MODES[mode], norms, merge=True)
    options = {"scorer": "l2-norm", "reduction": "merge", "target": "image", "attention": "plain"}
    with tokprune.apply(model, **options, **steps({1: 10, 3: 4})):
        output = generate(model, inputs, **MODES[mode])
    assert torch.equal(answer(model, inputs, output), expected)


def test_all_original_tokens_are_in_the_kept_ones_after_any_number_of_steps(model, inputs):
    with tokprune.apply(model, scorer="l2-norm", keep=3, reduction="merge", target="image", after="every") as handle:
        logits(model, inputs)
    assert handle.report.sizes.sum(dim=1).tolist() == [16, 16]
    assert torch.equal(handle.report.sizes > 0, handle.report.kept)
    assert handle.report.sizes.max() > 2


def test_merging_image_tokens_is_not_pruning_them(model, inputs):
    found, sizes = [], []
    for reduction in ("prune", "merge"):
        with tokprune.apply(model, scorer="l2-norm", keep=4, reduction=reduction, target="image") as handle:
            found.append(logits(model, inputs))
        sizes.append(handle.report.sizes)
    assert (found[0] - found[1]).abs().max() > 0.1
    assert sizes[0] is None
    assert sizes[1] is not None


def test_cls_takes_no_part_in_merging(model, inputs):
    left = []
    hook = model.vision_model.encoder.layers[1].register_forward_pre_hook(lambda m, args: left.append(args[0][:, 0]))
    logits(model, inputs)
    with tokprune.apply(model, scorer="first", keep=1, reduction="merge", target="image", after=1):
        logits(model, inputs)
    hook.remove()
    assert torch.equal(*left)
