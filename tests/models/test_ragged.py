"""Selectors that keep different numbers of tokens: rows are padded and masked, and each is what it is alone."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import MODES, answer, forward, generate, logits
from .keeping import keeping
from .oracle import hand_fed, oracle_answer, oracle_logits, some_kept
from .prompts import BATCHES, answers, row_of

UNEVEN = {"images": (1, 2, 1), "pads": (0, 1, 3)}


def uneven(images):
    """Kept sets of 1, 2, 3, ... tokens."""
    return torch.cat([some_kept(1, 1 + 2 * i % 8, seed=i) for i in range(images)])


@pytest.mark.parametrize("batch", BATCHES)
def test_uneven_rows_are_padded_as_by_hand(model, kind, batch):
    inputs = prompts(kind, **BATCHES[batch])
    kept = uneven(len(inputs["pixel_values"]))
    expected = oracle_logits(model, inputs, hand_fed(model, inputs, kept))
    with tokprune.apply(model, **keeping(kept)):
        assert torch.equal(logits(model, inputs), expected)


@pytest.mark.parametrize("mode", MODES)
def test_uneven_rows_generate_as_by_hand(either, lay, mode):
    inputs, kept = lay(**UNEVEN), uneven(4)
    expected = oracle_answer(either, hand_fed(either, inputs, kept), **MODES[mode])
    with tokprune.apply(either, **keeping(kept)):
        output = generate(either, inputs, **MODES[mode])
    assert torch.equal(answer(either, inputs, output), expected)
    if not either.language_model.config.is_encoder_decoder:
        length = inputs["input_ids"].shape[1]
        copies = len(output) // 3
        assert torch.equal(output[:, :length], inputs["input_ids"].repeat_interleave(copies, dim=0))


@pytest.mark.parametrize("positions", ["compact", "preserve"])
@pytest.mark.parametrize("images", [(1, 1, 1), (1, 2, 1)])
def test_each_row_of_a_top_p_batch_is_what_it_is_alone(model, kind, images, positions):
    inputs = prompts(kind, images=images, pads=(0, 1, 3))
    with tokprune.apply(model, scorer="distinct", selector="top-p", keep=0.5, positions=positions) as handle:
        together, answers_together = logits(model, inputs), generate(model, inputs)
        kept = handle.report.kept
        assert len(set(handle.report.counts.tolist())) > 1
        for row in range(3):
            alone = row_of(inputs, row, images)
            own = logits(model, alone)
            first = sum(images[:row])
            assert torch.equal(handle.report.kept, kept[first : first + images[row]])
            real = min(3, own.shape[1])
            assert torch.allclose(together[row, -real:], own[0, -real:], atol=2e-4)
            mine = answer(model, alone, generate(model, alone))[0]
            assert answer(model, inputs, answers_together)[row, : len(mine)].equal(mine)


def test_the_loss_of_uneven_rows_ignores_their_padding(opt):
    inputs, kept = prompts("opt", pads=(0, 0)), torch.cat([some_kept(1, 2), some_kept(1, 7)])
    with tokprune.apply(opt, **keeping(kept)):
        together = forward(opt, inputs, labels=answers(inputs)).loss
    alone = []
    for row in range(2):
        one = row_of(inputs, row, (1, 1))
        with tokprune.apply(opt, **keeping(kept[row : row + 1])):
            alone.append(forward(opt, one, labels=answers(one)).loss)
    assert torch.allclose(together, sum(alone) / 2, atol=1e-5)
