"""A sample's result depends neither on its batch-mates nor on padding."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import PAD, prompts

from .calls import answer, generate, logits
from .keeping import QUERY_SCORERS
from .prompts import row_of

ONE_EACH = (1, 1, 1)


@pytest.mark.parametrize("scorer", QUERY_SCORERS)
def test_what_is_kept_does_not_depend_on_batch_mates(model, kind, scorer):
    inputs = prompts(kind, images=ONE_EACH, pads=(0, 3, 1))
    with tokprune.apply(model, scorer=scorer, keep=3) as handle:
        together = logits(model, inputs)
        kept = handle.report.kept
        for row in range(3):
            alone = logits(model, row_of(inputs, row, ONE_EACH))
            assert torch.equal(handle.report.kept[0], kept[row])
            assert torch.allclose(alone[0, -3:], together[row, -3:], atol=2e-4)


@pytest.mark.parametrize("aggregator", tokprune.list_aggregators())
def test_no_voting_rule_looks_at_batch_mates(opt, aggregator):
    inputs = prompts("opt", images=ONE_EACH, pads=(0, 3, 1))
    with tokprune.apply(opt, scorer="self-attention", aggregator=aggregator, keep=3) as handle:
        logits(opt, inputs)
        kept = handle.report.kept
        logits(opt, row_of(inputs, 1, ONE_EACH))
        assert torch.equal(handle.report.kept[0], kept[1])


@pytest.mark.parametrize("reduction", ["prune", "merge", "mask"])
@pytest.mark.parametrize("positions", ["compact", "preserve"])
def test_generated_tokens_do_not_depend_on_batch_mates(model, kind, reduction, positions):
    inputs = prompts(kind, images=ONE_EACH, pads=(0, 3, 1))
    with tokprune.apply(model, keep=3, reduction=reduction, positions=positions):
        together = answer(model, inputs, generate(model, inputs))
        for row in range(3):
            mine = row_of(inputs, row, ONE_EACH)
            own = answer(model, mine, generate(model, mine))[0]
            assert together[row, : len(own)].equal(own)


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0)])
def test_rows_in_another_order_give_results_in_that_order(model, kind, order):
    inputs = prompts(kind, images=ONE_EACH, pads=(0, 3, 1))
    shuffled = {name: tensor[list(order)] for name, tensor in inputs.items()}
    with tokprune.apply(model, keep=3) as handle:
        expected, kept = logits(model, inputs), handle.report.kept
        assert torch.allclose(logits(model, shuffled), expected[list(order)], atol=2e-4)
        assert torch.equal(handle.report.kept, kept[list(order)])


@pytest.mark.parametrize("padding", [1, 4])
@pytest.mark.parametrize("positions", ["compact", "preserve"])
def test_more_padding_in_front_changes_nothing(opt, padding, positions):
    inputs = prompts("opt")
    rows = len(inputs["input_ids"])
    padded = {
        "pixel_values": inputs["pixel_values"],
        "input_ids": torch.cat([torch.full((rows, padding), PAD["opt"]), inputs["input_ids"]], dim=1),
        "attention_mask": torch.cat([torch.zeros(rows, padding, dtype=torch.long), inputs["attention_mask"]], dim=1),
    }
    with tokprune.apply(opt, keep=3, positions=positions) as handle:
        expected, kept = logits(opt, inputs), handle.report.kept
        new = answer(opt, inputs, generate(opt, inputs))
        assert torch.allclose(logits(opt, padded)[:, -3:], expected[:, -3:], atol=2e-4)
        assert torch.equal(handle.report.kept, kept)
        assert torch.equal(answer(opt, padded, generate(opt, padded)), new)


def test_the_prompt_does_not_change_what_catp_keeps(model, inputs, kind):
    other = {**inputs, "input_ids": inputs["input_ids"].clone()}
    other["input_ids"][:, -1] = 50
    with tokprune.apply(model, keep=3) as handle:
        first, kept = logits(model, inputs), handle.report.kept
        assert not torch.equal(logits(model, other)[:, -1], first[:, -1]) or kind == "t5"
        assert torch.equal(handle.report.kept, kept)
