"""The fused kernels, against the materialised probabilities.

Sizes are small because Triton's interpreter is slow; each stands for one way through the kernels. Points of exactly
the same ballots are the same whole or half numbers. A device adds logits up in another order, though, and its
exponentials are approximate: sums of probabilities may differ by `ROUNDING`, relatively. Two candidates whose
probabilities differ by less may change places, which happens to fewer than `SWAPS` of all pairs on random ballots;
where hardly any pair should, none may.
"""

import pytest
import torch

from tokprune import functional
from tokprune.adapters import AttentionSource
from tokprune.adapters.tap import Seen

from .layers import draw, layer, voters

ROUNDING = 1e-5
SWAPS = 2e-5
MOST_CANDIDATES = 1024
either_side = pytest.mark.parametrize("candidates", ["query", "key"])


def expected(query, key, scale, mask=None, *, candidates, weights=None, protected=0):
    attention = functional.attention_probabilities(query, key, scale, mask)
    votes = attention.transpose(2, 3) if candidates == "query" else attention
    votes = votes[..., protected:].flatten(1, 2)
    return functional.borda_scores(votes, weights), functional.exact_sum(votes, weights)


def check(fused, *args, **options):
    points, total = expected(*args, **options)
    summed, ran = fused("attention_total", *args, **options)
    assert ran == {"triton"}
    assert summed.dtype == torch.float32
    torch.testing.assert_close(summed, total, rtol=ROUNDING, atol=ROUNDING)
    if points.shape[1] <= MOST_CANDIDATES:
        pairs = voters(*args[:2], options["candidates"])[1] * points.shape[1] ** 2 / 2
        swapped = 1 + SWAPS * pairs if SWAPS * pairs > 0.05 else 0
        counted = fused("attention_points", *args, **options)[0]
        torch.testing.assert_close(counted, points, rtol=ROUNDING, atol=swapped)


SIZES = {
    "one of each": (1, 1, 1, 1, 1),
    "a tile of 16": (2, 2, 5, 7, 8),
    "a tile of 32": (1, 2, 32, 33, 16),
    "a tile of 64": (1, 1, 40, 33, 16),
    "many candidates": (1, 1, 70, 66, 16),
}
LARGE = {"many keys": (1, 1, 3, 1030, 4), "a long row of keys in one tile": (1, 1, 33, 120, 8)}


@either_side
@pytest.mark.parametrize(
    "sizes",
    [*SIZES.values(), *(pytest.param(sizes, marks=pytest.mark.slow) for sizes in LARGE.values())],
    ids=[*SIZES, *LARGE],
)
def test_it_counts_what_the_reference_counts(fused, candidates, sizes):
    check(fused, *layer(*sizes), sizes[-1] ** -0.5, candidates=candidates)


@either_side
@pytest.mark.parametrize("dim", [5, 80, 88, 130])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_head_dims_need_not_be_powers_of_two(fused, candidates, dim, dtype):
    check(fused, *layer(1, 1, 9, 18, dim, dtype), dim**-0.5, candidates=candidates)


@either_side
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_counted_in_float32(fused, candidates, dtype):
    check(fused, *layer(1, 2, 20, 35, 16, dtype), 0.25, candidates=candidates)


@either_side
def test_queries_and_keys_may_differ_in_dtype(fused, candidates):
    query, key = layer(1, 1, 9, 18)
    check(fused, query.half(), key, 0.25, candidates=candidates)


@either_side
@pytest.mark.parametrize(
    ("sizes", "dtype"),
    [
        ((2, 2, 20, 40, 8), torch.float32),
        ((2, 1, 9, 18, 8), torch.float64),
        ((1, 1, 70, 40, 8), torch.float32),
        pytest.param((1, 1, 3, 1030, 4), torch.float32, marks=pytest.mark.slow),
    ],
)
def test_voters_have_weights(fused, candidates, sizes, dtype):
    query, key = layer(*sizes)
    weights = torch.rand(voters(query, key, candidates), dtype=dtype)
    check(fused, query, key, 0.5, candidates=candidates, weights=weights)


def bool_mask(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(2)) > 0.3


MASKS = {
    "bool": lambda b, h, q, k: bool_mask(b, h, q, k),
    "bool for keys": lambda b, h, q, k: bool_mask(b, 1, 1, k),
    "bool for queries, some of which see nothing": lambda b, h, q, k: (torch.arange(q) % 3 > 0)[:, None],
    "no voter sees anything": lambda b, h, q, k: torch.zeros(1, dtype=torch.bool),
    "transposed": lambda b, h, q, k: bool_mask(k, q).T,
    "additive": lambda b, h, q, k: draw(b, h, q, k, seed=3),
    "additive in half precision": lambda b, h, q, k: draw(1, 1, q, k, seed=3).half(),
    "additive and lowest, as of transformers": lambda b, h, q, k: (~bool_mask(b, 1, 1, k)) * torch.finfo().min,
    "additive and infinite": lambda b, h, q, k: torch.zeros(q, k).masked_fill(~bool_mask(q, k), float("-inf")),
}


@either_side
@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(mask, marks=[] if name in ("bool", "additive") else [pytest.mark.slow])
        for name, mask in MASKS.items()
    ],
    ids=MASKS,
)
def test_a_mask_hides_what_it_hides(fused, candidates, mask):
    check(fused, *layer(2, 2, 20, 35), 0.5, mask(2, 2, 20, 35), candidates=candidates)


@either_side
def test_a_mask_hides_it_from_many_candidates_too(fused, candidates):
    check(fused, *layer(1, 1, 70, 66), 0.5, bool_mask(70, 66), candidates=candidates)


@either_side
@pytest.mark.parametrize("sizes", [(1, 2, 20, 35, 8), (1, 1, 70, 68, 8)])
def test_protected_tokens_share_the_softmax_and_are_no_candidates(fused, candidates, sizes):
    check(fused, *layer(*sizes), 0.5, candidates=candidates, protected=3)


@pytest.mark.parametrize("candidates", [8, 40])
def test_others_behind_the_candidates_vote_unless_they_are_padding(fused, candidates):
    query, key = layer(2, 2, candidates + 6, candidates + 6)
    real = torch.ones(2, candidates + 6, dtype=torch.bool)
    real[1, -3:] = False
    source = AttentionSource("self_attention", 0, (), 2, 0.5, candidates="key", leading=candidates)
    votes = source.votes(Seen(query, key, key, real[:, None, None], 0.5))
    given = votes._for_kernels()
    check(fused, *(given.pop(name) for name in ("query", "key", "scale", "mask")), **given)
    points, total = expected(query[1:, :, :-3], key[1:, :, :-3], 0.5, candidates="key")
    aside = expected(
        query[1:, :, :-3].roll(3, dims=2), key[1:, :, :-3].roll(3, dims=2), 0.5, candidates="key", protected=3
    )
    assert torch.equal(votes.points()[1:], aside[0])
    torch.testing.assert_close(votes.total()[1:], total[:, :candidates])
    assert not torch.equal(votes.points()[1:], points[:, :candidates])


@either_side
@pytest.mark.parametrize("key_heads", [1, 2])
def test_heads_may_share_keys_and_images_queries(fused, candidates, key_heads):
    check(fused, draw(1, 4, 5, 8), draw(2, key_heads, 7, 8, seed=1), 0.5, candidates=candidates)
    check(fused, draw(2, 4, 5, 8), draw(1, key_heads, 7, 8, seed=1), 0.5, candidates=candidates)


@either_side
def test_tensors_need_not_be_contiguous(fused, candidates):
    query, key = draw(4, 6, 20, 6)[::2, ::2, ::2, ::2], draw(2, 3, 3, 7, seed=1).transpose(2, 3)
    weights = torch.rand(voters(query, key, candidates)[::-1]).T
    check(fused, query, key, 0.5, candidates=candidates, weights=weights)


@either_side
@pytest.mark.parametrize("tokens", [12, pytest.param(36, marks=pytest.mark.slow), 70])
def test_equal_tokens_draw_exactly(fused, candidates, tokens):
    query, key = layer(1, 2, tokens, tokens, 16)
    twins = {"query": query, "key": key}
    twins[candidates] = twins[candidates][:, :, torch.arange(tokens) // 2]
    points, _ = fused("attention_points", **twins, scale=0.25, candidates=candidates)
    assert torch.equal(points[:, 0::2], points[:, 1::2])
    assert len(points.unique()) > 1
    assert points.sum() == 2 * tokens * tokens * (tokens - 1) / 2


@either_side
def test_tiny_probabilities_are_told_apart(fused, candidates):
    # All but one probability of a row lie between e^-60 and e^-80, and they are ranked all the same.
    key = torch.zeros(1, 1, 6, 1)
    key[0, 0, 1:, 0] = torch.tensor([-70.0, -80.0, -60.0, -65.0, -75.0])
    check(fused, torch.ones(1, 1, 3, 1), key, 1.0, candidates="key")
    check(fused, draw(1, 1, 6, 1), key, 1.0, candidates=candidates)


def test_ballots_over_1024_candidates_are_refused(fused):
    from tokprune import BackendError

    query, key = draw(1, 1, 1025, 4), draw(1, 1, 2, 4)
    with pytest.raises(BackendError, match="1025 candidates are more than 1024"):
        fused("attention_points", query, key, 0.5, candidates="query")
    assert fused("attention_total", query, key, 0.5, candidates="query")[0].shape == (1, 1025)
