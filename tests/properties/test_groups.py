"""What must hold for groups of tokens, and for what is made of them."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tokprune.functional import group_sizes, merge_tokens, top_k
from tokprune.testing import keeps


@st.composite
def grouped(draw, dropped=True):
    """Tokens, kept, assignment and sizes; some tokens are in no group, if that is wanted."""
    batch, tokens, dim = draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    values = torch.randn(batch, tokens, dim, generator=generator)
    kept = top_k(torch.rand(batch, tokens, generator=generator), draw(keeps(tokens)))
    count = int(kept[0].sum())
    assignment = torch.randint(-1 if dropped else 0, count, kept.shape, generator=generator)
    assignment[kept] = torch.arange(count).repeat(batch)
    sizes = torch.randint(1, 5, kept.shape, generator=generator).float() if draw(st.booleans()) else None
    return values, kept, assignment, sizes


def by_loop(values, kept, assignment, sizes):
    """Merged tokens and sizes, group by group."""
    tokens, after = values.clone(), torch.zeros(kept.shape)
    for image in range(len(kept)):
        weights = torch.ones(kept.shape[1]) if sizes is None else sizes[image]
        for number, place in enumerate(kept[image].nonzero()[:, 0]):
            members = assignment[image] == number
            after[image, place] = weights[members].sum()
            mean = (values[image, members] * weights[members, None]).sum(0) / weights[members].sum()
            tokens[image, place] = mean
    return tokens, after


@given(case=grouped())
def test_merging_makes_the_mean_of_each_group(case):
    values, kept, assignment, sizes = case
    merged, after = merge_tokens(values, kept, sizes, assignment)
    tokens, expected = by_loop(*case)
    assert torch.equal(after, expected)
    torch.testing.assert_close(merged[kept], tokens[kept], rtol=1e-4, atol=1e-5)
    assert torch.equal(merged[~kept], values[~kept])


@given(case=grouped(dropped=False))
def test_sizes_sum_to_the_number_of_tokens_where_each_is_in_a_group(case):
    _, kept, assignment, sizes = case
    before = torch.ones(kept.shape) if sizes is None else sizes
    after = group_sizes(kept, assignment, sizes)
    assert torch.equal(after.sum(dim=1), before.sum(dim=1))
    assert torch.equal(after > 0, kept)


@given(case=grouped())
def test_tokens_in_no_group_are_missing_from_the_sizes(case):
    _, kept, assignment, sizes = case
    before = torch.ones(kept.shape) if sizes is None else sizes
    after = group_sizes(kept, assignment, sizes)
    assert torch.equal(after.sum(dim=1), (before * (assignment >= 0)).sum(dim=1))


@given(case=grouped())
def test_a_group_of_one_token_is_that_token_bit_for_bit(case):
    values, kept, assignment, sizes = case
    merged, after = merge_tokens(values, kept, sizes, assignment)
    alone = kept & (after == (torch.ones(kept.shape) if sizes is None else sizes))
    assert torch.equal(merged[alone], values[alone])
