"""What must hold for merging."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tokprune.functional import merge_tokens, top_k
from tokprune.testing import keeps


@st.composite
def merges(draw):
    """Tokens, kept, sizes."""
    batch, tokens, dim = draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    values = torch.randn(batch, tokens, dim, generator=generator)
    kept = top_k(torch.rand(batch, tokens, generator=generator), draw(keeps(tokens)))
    sizes = torch.randint(1, 5, (batch, tokens), generator=generator).float() if draw(st.booleans()) else None
    return values, kept, sizes


def before(values, sizes):
    return torch.ones(values.shape[:2]) if sizes is None else sizes


@given(case=merges())
def test_merging_conserves_the_sizes(case):
    values, kept, sizes = case
    assert torch.equal(merge_tokens(values, kept, sizes)[1].sum(dim=1), before(values, sizes).sum(dim=1))


@given(case=merges())
def test_merging_conserves_the_sum_of_the_tokens_weighted_by_size(case):
    values, kept, sizes = case
    merged, after = merge_tokens(values, kept, sizes)
    expected = (values * before(values, sizes)[..., None]).sum(dim=1)
    torch.testing.assert_close((merged * after[..., None]).sum(dim=1), expected, rtol=1e-4, atol=1e-4)


@given(case=merges())
def test_only_kept_tokens_have_a_size_after_merging(case):
    values, kept, sizes = case
    after = merge_tokens(values, kept, sizes)[1]
    assert torch.equal(after > 0, kept)
    assert (after >= before(values, sizes))[kept].all()


@given(case=merges())
def test_a_kept_token_that_receives_nothing_is_the_same_bit_for_bit(case):
    values, kept, sizes = case
    merged, after = merge_tokens(values, kept, sizes)
    untouched = after == before(values, sizes)
    assert torch.equal(merged[untouched & kept], values[untouched & kept])


@given(case=merges())
def test_keeping_all_merges_nothing(case):
    values, kept, sizes = case
    merged, after = merge_tokens(values, torch.ones_like(kept), sizes)
    assert torch.equal(merged, values)
    assert torch.equal(after, before(values, sizes))


@given(case=merges())
def test_an_image_is_merged_the_same_alone_and_among_others(case):
    values, kept, sizes = case
    together, _ = merge_tokens(values, kept, sizes)
    for row in range(len(values)):
        one = slice(row, row + 1)
        alone, _ = merge_tokens(values[one], kept[one], None if sizes is None else sizes[one])
        torch.testing.assert_close(alone, together[one])


def test_merging_can_change_a_kept_token():
    merged, _ = merge_tokens(torch.tensor([[[1.0], [3.0]]]), torch.tensor([[True, False]]))
    assert merged[0, 0] == 2.0
