"""Merging, against a loop over the dropped tokens."""

import pytest
import torch

from tokprune import InvalidValueError
from tokprune.functional import merge_tokens, top_k


def loop(tokens, kept, sizes):
    """One image at a time, one dropped token at a time."""
    merged, after = tokens.double().clone(), (sizes * kept).double()
    total = tokens.double() * after[..., None]
    for b in range(len(tokens)):
        for d in (~kept[b]).nonzero().flatten().tolist():
            near = torch.cosine_similarity(tokens[b, d][None], tokens[b], dim=-1).masked_fill(~kept[b], -2)
            total[b, near.argmax()] += sizes[b, d] * tokens[b, d].double()
            after[b, near.argmax()] += sizes[b, d]
    received = after > sizes * kept
    merged[received] = (total / after[..., None])[received]
    return merged.float(), after.float()


@pytest.mark.parametrize("carried", [False, True])
def test_merging_is_the_loop(carried):
    tokens, kept = torch.randn(3, 16, 8), top_k(torch.rand(3, 16), 0.25)
    sizes = torch.randint(1, 5, (3, 16)).float() if carried else None
    expected = loop(tokens, kept, torch.ones(3, 16) if sizes is None else sizes)
    torch.testing.assert_close(merge_tokens(tokens, kept, sizes), expected)


def test_a_dropped_token_goes_to_the_most_similar_kept_one():
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [3.0, 0.0]]])
    merged, sizes = merge_tokens(tokens, torch.tensor([[True, True, False]]))
    assert merged[0, 0].tolist() == [2.0, 0.0]
    assert sizes.tolist() == [[2.0, 1.0, 0.0]]


def test_sizes_weigh_the_mean():
    tokens, sizes = torch.tensor([[[1.0], [4.0]]]), torch.tensor([[2.0, 1.0]])
    merged, after = merge_tokens(tokens, torch.tensor([[True, False]]), sizes)
    assert merged[0, 0].item() == 2.0
    assert after.tolist() == [[3.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_tokens_come_back_as_such_and_do_not_overflow(dtype):
    tokens = torch.full((1, 300, 2), 300.0, dtype=dtype)
    merged, sizes = merge_tokens(tokens, torch.arange(300)[None] == 7)
    assert merged.dtype == dtype
    assert torch.equal(merged, tokens)
    assert sizes[0, 7] == 300


def test_merging_passes_gradients_to_dropped_tokens():
    tokens = torch.rand(1, 3, 2, requires_grad=True)
    kept = torch.tensor([[True, False, False]])
    merge_tokens(tokens, kept)[0][kept].sum().backward()
    assert (tokens.grad != 0).all()


@pytest.mark.parametrize(
    ("tokens", "kept", "message"),
    [
        (torch.rand(2, 3), torch.ones(2, 3) > 0, r"\[batch token dim\], got \(2, 3\)"),
        (torch.rand(1, 2, 3), torch.ones(1, 3) > 0, r"must have shape \(1, 2\), got \(1, 3\)"),
    ],
)
def test_a_wrong_shape_says_what_was_expected(tokens, kept, message):
    with pytest.raises(InvalidValueError, match=message):
        merge_tokens(tokens, kept)
