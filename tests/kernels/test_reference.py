"""The torch backend, against ballots counted one by one."""

import pytest
import torch

from tokprune.functional import chunks
from tokprune.kernels import attention_points, attention_total

from .layers import by_hand, draw, layer, voters

either_side = pytest.mark.parametrize("candidates", ["query", "key"])
FUNCTIONS = (attention_points, attention_total)


def check(*args, **options):
    for count, expected in zip(FUNCTIONS, by_hand(*args, **options), strict=True):
        torch.testing.assert_close(count(*args, **options, backend="reference"), expected)


@either_side
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (1, 1, 2, 3, 4), (2, 3, 32, 17, 8), (1, 2, 70, 65, 8)])
def test_it_counts_as_one_counts_by_hand(candidates, weighted, sizes):
    query, key = layer(*sizes)
    weights = torch.rand(voters(query, key, candidates)) if weighted else None
    check(query, key, 0.5, candidates=candidates, weights=weights)


@pytest.fixture(params=[1, 40, 300])
def cells(request, monkeypatch):
    """Room for so many cells only, so that heads, voters and the softmax itself come in blocks."""
    monkeypatch.setattr(chunks, "CPU_CELLS", request.param)


MASKS = {
    "bool": lambda b, h, q, k: torch.rand(b, h, q, k, generator=torch.Generator().manual_seed(2)) > 0.3,
    "keys": lambda b, h, q, k: torch.arange(k) < k - 2,
    "no key at all": lambda b, h, q, k: (torch.arange(q) % 2 == 0)[:, None],
    "additive": lambda b, h, q, k: draw(1, h, q, k, seed=3),
    "of one image": lambda b, h, q, k: torch.zeros(b, 1, 1, k).masked_fill_(
        torch.arange(b)[:, None, None, None] == 0, -9
    ),
}


@either_side
@pytest.mark.parametrize("mask", [None, *MASKS])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_counts_the_same_in_blocks(cells, candidates, mask, weighted):
    query, key = layer()
    mask = None if mask is None else MASKS[mask](2, 3, 5, 7)
    weights = torch.rand(voters(query, key, candidates)) if weighted else None
    check(query, key, 0.5, mask, candidates=candidates, weights=weights, protected=2)


@either_side
@pytest.mark.parametrize("mask", MASKS)
def test_a_mask_hides_what_it_hides(candidates, mask):
    check(*layer(), 0.5, MASKS[mask](2, 3, 5, 7), candidates=candidates)


@either_side
@pytest.mark.parametrize("key_heads", [1, 2])
def test_heads_may_share_keys_and_images_queries(cells, candidates, key_heads):
    check(draw(1, 4, 5, 8), draw(3, key_heads, 7, 8, seed=1), 0.5, candidates=candidates)
    check(draw(3, 4, 5, 8), draw(1, key_heads, 7, 8, seed=1), 0.5, candidates=candidates)


@either_side
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_count_like_their_float32_copies(candidates, dtype):
    query, key = layer(dtype=dtype)
    for count in FUNCTIONS:
        assert torch.equal(
            count(query, key, 0.5, candidates=candidates), count(query.float(), key.float(), 0.5, candidates=candidates)
        )


@either_side
def test_nothing_counted_has_a_gradient(candidates):
    query, key = (side.requires_grad_() for side in layer())
    mask, weights = torch.zeros(7, requires_grad=True), torch.ones(voters(query, key, candidates), requires_grad=True)
    for count in FUNCTIONS:
        assert not count(query, key, 0.5, mask, candidates=candidates, weights=weights).requires_grad


@either_side
def test_an_image_counts_the_same_alone_and_among_others(candidates):
    query, key = layer(batch=3)
    for count in FUNCTIONS:
        together = count(query, key, 0.5, candidates=candidates)
        for row in range(3):
            one = slice(row, row + 1)
            assert torch.equal(count(query[one], key[one], 0.5, candidates=candidates), together[one])


def test_probabilities_are_ranked_and_not_logits():
    # The second query's logit is higher, but it attends to more keys, so its share is lower.
    query, key = torch.tensor([[[[1.0, 0.0], [2.0, 2.0]]]]), torch.tensor([[[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]])
    assert (query @ key.transpose(2, 3))[0, 0, 1, 0] > (query @ key.transpose(2, 3))[0, 0, 0, 0]
    voters_of_the_first_key_only = torch.tensor([[1.0, 0.0, 0.0]])
    points = attention_points(query, key, 1.0, candidates="query", weights=voters_of_the_first_key_only)
    assert points.tolist() == [[1.0, 0.0]]


@either_side
def test_equal_tokens_draw(candidates):
    query, key = layer()
    twins = {"query": query, "key": key}
    twins[candidates] = twins[candidates][:, :, torch.tensor([0, 1, 0, 2, 1])]
    weights = torch.rand(voters(**twins, candidates=candidates))
    for count in FUNCTIONS:
        first, second, third, _, fifth = count(**twins, scale=0.5, candidates=candidates, weights=weights)[0]
        assert first == third
        assert second == fifth
        assert first != second


def test_all_points_of_a_layer_are_handed_out():
    points = attention_points(*layer(1, 12, 32, 257, 64), 0.125, candidates="query")
    assert points.sum() == 12 * 257 * 32 * 31 / 2
