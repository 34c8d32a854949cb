"""The loss is that of logits for the whole prompt, and no label is lost."""

import pytest
import torch

import tokprune
from tokprune.testing.tiny_blip2 import prompts

from .calls import forward, logits
from .either import EITHER, decoder_only, only
from .keeping import keeping
from .oracle import hand_fed, oracle_loss, some_kept
from .prompts import BATCHES, answers


@decoder_only
@pytest.mark.parametrize("batch", BATCHES)
def test_the_loss_is_that_of_the_logits_that_come_with_it(either, lay, batch):
    inputs = lay(**BATCHES[batch])
    kept, labels = some_kept(len(inputs["pixel_values"]), 3), answers(inputs)
    expected = oracle_loss(either, inputs, kept, labels)
    with tokprune.apply(either, **keeping(kept)):
        output = forward(either, inputs, labels=labels)
        assert torch.equal(output.logits, logits(either, inputs))
    assert torch.allclose(output.loss, expected, atol=1e-6)
    assert (forward(either, inputs, labels=labels).loss - expected).abs() > 1e-3


@pytest.mark.parametrize("covered", [13, 10, 6, 4, 2])
@pytest.mark.parametrize("images", [(1, 1), (1, 2)])
def test_labels_may_cover_only_the_last_positions(opt, covered, images):
    inputs = prompts("opt", images=images)
    kept, labels = some_kept(sum(images), 3), answers(inputs)[:, -covered:]
    expected = oracle_loss(opt, inputs, kept, labels)
    with tokprune.apply(opt, **keeping(kept)):
        assert torch.allclose(forward(opt, inputs, labels=labels).loss, expected, atol=1e-6)


def test_labels_of_dropped_tokens_count_too(opt):
    inputs, kept = prompts("opt"), some_kept(2, 3)
    labels = torch.randint(10, 90, (2, 14), generator=torch.Generator().manual_seed(5))
    with tokprune.apply(opt, **keeping(kept)):
        loss = forward(opt, inputs, labels=labels).loss
    assert torch.allclose(loss, oracle_loss(opt, inputs, kept, labels), atol=1e-6)


@decoder_only
@pytest.mark.parametrize("count", [[2, 5], [8, 1], [3, 8]])
def test_rows_that_keep_different_numbers_of_tokens_share_one_loss(either, lay, count):
    inputs = lay()
    kept = torch.cat([some_kept(1, each) for each in count])
    with tokprune.apply(either, **keeping(kept)):
        loss = forward(either, inputs, labels=answers(inputs)).loss
    assert torch.allclose(loss, oracle_loss(either, inputs, kept, answers(inputs)), atol=1e-6)


@pytest.mark.parametrize(
    ("which", "covered"), [(EITHER["blip2-opt"], 14), (EITHER["blip2-opt"], 4), (EITHER["instructblip-llama"], 14)]
)
def test_keeping_all_tokens_changes_no_bit_of_the_loss(either, lay, covered):
    inputs = lay(images=(1,), pads=(0,))  # transformers takes tail labels of one row only
    labels = answers(inputs)[:, -covered:]
    before = forward(either, inputs, labels=labels).loss
    with tokprune.apply(either, keep=1.0):
        assert torch.equal(forward(either, inputs, labels=labels).loss, before)


@pytest.mark.parametrize("covered", [14, 6, 3])
def test_the_loss_of_hidden_tokens_is_that_of_removed_ones(opt, covered):
    inputs, kept = prompts("opt", pads=(0, 0)), some_kept(2, 3)
    labels = answers(inputs)[:, -covered:]
    losses = []
    for reduction in ("prune", "mask"):
        with tokprune.apply(opt, **keeping(kept, reduction=reduction)):
            losses.append(forward(opt, inputs, labels=labels).loss)
    assert torch.allclose(*losses, atol=1e-5)


def test_the_number_of_items_in_the_batch_still_divides_the_loss(opt):
    inputs, labels = prompts("opt"), answers(prompts("opt"))
    with tokprune.apply(opt, keep=3):
        mean = forward(opt, inputs, labels=labels).loss
        total = forward(opt, inputs, labels=labels, num_items_in_batch=torch.tensor(1)).loss
    predicted = (labels[:, 1:] != -100).sum()
    assert torch.allclose(total, mean * predicted)


def test_fields_come_in_the_same_order_as_without_pruning(opt):
    inputs, labels = prompts("opt"), answers(prompts("opt"))
    plain = forward(opt, inputs, labels=labels)
    with tokprune.apply(opt, keep=3):
        pruned = forward(opt, inputs, labels=labels)
    assert type(pruned) is type(plain)
    assert list(pruned) == list(plain)
    assert pruned[0] is pruned.loss
    assert pruned[1] is pruned.logits


def test_a_tuple_still_begins_with_the_loss(opt):
    inputs, labels = prompts("opt"), answers(prompts("opt"))
    plain = forward(opt, inputs, labels=labels, return_dict=False)
    with tokprune.apply(opt, keep=3):
        named = forward(opt, inputs, labels=labels)
        pruned = forward(opt, inputs, labels=labels, return_dict=False)
    assert isinstance(pruned, tuple)
    assert len(pruned) == len(plain)
    assert torch.equal(pruned[0], named.loss)
    assert torch.equal(pruned[1], named.logits)


def test_labels_may_be_the_seventh_argument(opt):
    inputs, labels = prompts("opt"), answers(prompts("opt"))
    with tokprune.apply(opt, keep=3), torch.no_grad():
        loss = opt(*inputs.values(), None, None, None, labels).loss
        assert torch.equal(loss, forward(opt, inputs, labels=labels).loss)


@only("blip2-t5", "instructblip-t5")
@pytest.mark.parametrize("batch", BATCHES)
def test_labels_of_an_encoder_decoder_are_left_alone(either, lay, batch):
    inputs = lay(**BATCHES[batch])
    labels = torch.randint(10, 90, (len(inputs["input_ids"]), 4))
    kept = some_kept(len(inputs["pixel_values"]), 3)
    fed = hand_fed(either, inputs, kept)
    with torch.no_grad():
        expected = either.language_model(**fed, labels=labels)
        with tokprune.apply(either, **keeping(kept)):
            output = either(**inputs, labels=labels)
            order = either(**inputs, labels=labels, return_dict=False)
    assert torch.equal(output.loss, expected.loss)
    assert torch.equal(output.logits, expected.logits)
    assert torch.equal(order[0], expected.loss)
