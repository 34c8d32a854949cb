"""Attention probabilities, against torch's own attention and by hand."""

import numpy as np
import pytest
import torch

from tokprune import InvalidValueError
from tokprune.functional import attention_probabilities, received_attention


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(query, key, scale, mask=None):
    """Softmax attention in numpy, one query at a time."""
    query, key = query.double().numpy(), key.double().numpy()
    shares = query.shape[1] // key.shape[1]
    result = np.zeros((query.shape[0], query.shape[1], query.shape[2], key.shape[2]))
    for b, h, q in np.ndindex(*result.shape[:3]):
        logits = key[b, h // shares] @ query[b, h, q] * scale
        if mask is not None:
            logits = logits + mask[b, h, q].numpy()
        if np.isneginf(logits).all():
            continue
        powers = np.exp(logits - logits.max())
        result[b, h, q] = powers / powers.sum()
    return torch.tensor(result).float()


def test_probabilities_are_the_softmax_of_scaled_dot_products():
    query, key = draw(2, 3, 4, 8), draw(2, 3, 5, 8, seed=1)
    torch.testing.assert_close(attention_probabilities(query, key, 0.3), by_hand(query, key, 0.3))


def test_probabilities_are_those_that_torchs_attention_uses():
    query, key = draw(2, 3, 4, 8), draw(2, 3, 5, 8, seed=1)
    identity = torch.eye(5).expand(2, 3, 5, 5)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, identity)
    torch.testing.assert_close(attention_probabilities(query, key, 8**-0.5), expected)


def test_a_bool_mask_hides_keys_and_equals_an_additive_one():
    query, key, visible = draw(2, 2, 3, 4), draw(2, 2, 5, 4, seed=1), draw(2, 2, 3, 5, seed=2) > -0.5
    additive = torch.zeros(visible.shape).masked_fill(~visible, float("-inf"))
    hidden = attention_probabilities(query, key, 0.5, visible)
    assert torch.equal(hidden, attention_probabilities(query, key, 0.5, additive))
    torch.testing.assert_close(hidden, by_hand(query, key, 0.5, additive))
    assert (hidden[~visible] == 0).all()


def test_an_additive_mask_is_a_bias():
    query, key, bias = draw(1, 2, 3, 4), draw(1, 2, 5, 4, seed=1), draw(1, 2, 3, 5, seed=2)
    torch.testing.assert_close(attention_probabilities(query, key, 0.5, bias), by_hand(query, key, 0.5, bias))


def test_a_mask_is_broadcast_over_heads_and_queries():
    query, key, visible = draw(2, 2, 3, 4), draw(2, 2, 5, 4, seed=1), torch.tensor([[True] * 5, [True, *[False] * 4]])
    masked = attention_probabilities(query, key, 0.5, visible[:, None, None])
    assert torch.equal(masked, attention_probabilities(query, key, 0.5, visible[:, None, None].expand(2, 2, 3, 5)))
    assert (masked[1, :, :, 0] == 1).all()


def test_a_row_that_may_attend_to_nothing_is_zero_and_not_nan():
    masked = attention_probabilities(draw(1, 1, 2, 4), draw(1, 1, 3, 4), 1.0, torch.tensor([[False] * 3, [True] * 3]))
    assert (masked[0, 0, 0] == 0).all()
    assert masked[0, 0, 1].sum() == pytest.approx(1)


def test_grouped_query_heads_share_their_keys():
    query, key = draw(2, 6, 3, 4), draw(2, 2, 5, 4, seed=1)
    shared = attention_probabilities(query, key, 0.5)
    torch.testing.assert_close(shared, by_hand(query, key, 0.5))
    assert torch.equal(shared, attention_probabilities(query, key.repeat_interleave(3, dim=1), 0.5))


def test_queries_of_batch_one_serve_every_image():
    query, key = draw(1, 2, 3, 4), draw(3, 2, 5, 4, seed=1)
    assert torch.equal(
        attention_probabilities(query, key, 0.5), attention_probabilities(query.expand(3, -1, -1, -1), key, 0.5)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_queries_and_keys_are_attended_in_float32(dtype):
    query, key = draw(2, 2, 3, 4).to(dtype), draw(2, 2, 5, 4, seed=1).to(dtype)
    probabilities = attention_probabilities(query, key, 0.5)
    assert probabilities.dtype == torch.float32
    assert torch.equal(probabilities, attention_probabilities(query.float(), key.float(), 0.5))


def test_received_attention_is_the_sum_over_heads_and_queries():
    attention = draw(2, 3, 4, 5).softmax(dim=-1)
    expected = [
        [sum(attention[b, h, q, k].item() for h in range(3) for q in range(4)) for k in range(5)] for b in (0, 1)
    ]
    torch.testing.assert_close(received_attention(attention), torch.tensor(expected))


def test_received_attention_sums_to_heads_times_queries():
    received = received_attention(draw(2, 3, 4, 5).softmax(dim=-1))
    torch.testing.assert_close(received.sum(dim=1), torch.tensor([12.0, 12.0]))


def test_received_attention_of_half_precision_is_added_up_in_full():
    attention = torch.full((1, 12, 257, 4), 0.25)
    assert received_attention(attention.bfloat16()).tolist() == [[771.0] * 4]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: attention_probabilities(draw(2, 3, 4), draw(2, 3, 5, 4), 1.0), r"query must have shape \[batch head"),
        (lambda: attention_probabilities(draw(2, 3, 5, 4), draw(3, 4), 1.0), r"key must have shape \[batch head"),
        (lambda: attention_probabilities(draw(1, 4, 2, 2), draw(1, 3, 2, 2), 1.0), "4 query heads cannot share 3 key"),
        (lambda: received_attention(draw(2, 3, 4)), r"\[batch head query key\], got \(2, 3, 4\)"),
    ],
)
def test_a_wrong_shape_says_what_was_expected(call, message):
    with pytest.raises(InvalidValueError, match=message):
        call()
