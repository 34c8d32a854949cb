"""What must hold for selection, whatever the scores."""

from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tokprune.functional import top_k, top_p
from tokprune.keep import keep_count
from tokprune.testing import keeps, scores

from .laws import kept_set

both = pytest.mark.parametrize("select", [top_k, top_p])


@st.composite
def elections(draw, **options):
    """Scores and a keep that fits them."""
    drawn = draw(scores(**options))
    return drawn, draw(keeps(drawn.shape[1]))


@given(election=elections())
def test_top_k_keeps_exactly_as_many_as_it_is_told(election):
    drawn, keep = election
    assert (top_k(drawn, keep).sum(dim=1) == keep_count(keep, drawn.shape[1])).all()


@given(election=elections())
def test_top_k_keeps_no_token_that_scores_less_than_a_dropped_one(election):
    drawn, keep = election
    for row, kept in zip(drawn, top_k(drawn, keep), strict=True):
        assert kept.all() or row[kept].min() >= row[~kept].max()


@given(election=elections())
def test_kept_indices_are_ascending_and_unique(election):
    indices = kept_set(top_k(*election))
    assert indices == sorted(set(indices))


@given(election=elections())
def test_the_lower_index_wins_ties_as_a_stable_sort_has_it(election):
    drawn, keep = election
    expected = sorted(range(drawn.shape[1]), key=lambda i: (-drawn[0, i].item(), i))[: keep_count(keep, drawn.shape[1])]
    assert kept_set(top_k(drawn, keep)) == sorted(expected)


@both
@given(drawn=scores())
def test_the_kept_tokens_are_kept_at_every_larger_keep(select, drawn):
    kept = [select(drawn, k) for k in range(1, drawn.shape[1] + 1)]
    for fewer, more in pairwise(kept):
        assert (fewer <= more).all()


@both
@given(drawn=scores(), ratios=st.tuples(*[st.floats(0, 1, exclude_min=True)] * 2))
def test_a_smaller_ratio_never_keeps_a_token_that_a_larger_one_drops(select, drawn, ratios):
    assert (select(drawn, min(ratios)) <= select(drawn, max(ratios))).all()


@both
@given(drawn=scores())
def test_keep_one_and_the_full_count_keep_all(select, drawn):
    assert select(drawn, 1.0).all()
    assert select(drawn, drawn.shape[1]).all()


@both
@given(election=elections())
def test_at_least_one_token_of_every_image_stays(select, election):
    assert select(*election).any(dim=1).all()


@given(election=elections())
def test_top_p_never_keeps_a_token_that_top_k_drops(election):
    assert (top_p(*election) <= top_k(*election)).all()


@given(data=st.data(), shape=st.tuples(st.integers(1, 3), st.integers(1, 40)), value=st.floats(-1e6, 1e6, width=32))
def test_top_p_is_top_k_where_all_scores_are_equal(data, shape, value):
    keep = data.draw(keeps(shape[1]))
    uniform = torch.full(shape, value)
    assert torch.equal(top_p(uniform, keep), top_k(uniform, keep))


def test_top_p_can_keep_different_counts_of_two_images():
    unequal = torch.tensor([[6.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    assert top_p(unequal, 0.5).sum(dim=1).tolist() == [1, 2]


@given(election=elections(negative=False))
def test_top_p_keeps_the_smallest_set_with_the_share(election):
    drawn, keep = election
    share = keep if isinstance(keep, float) else keep / drawn.shape[1]
    for row, kept in zip(drawn.double(), top_p(drawn, keep), strict=True):
        assume(row.sum() > 0)
        assert row[kept].sum() >= share * row.sum() * (1 - 1e-9)
        if kept.sum() > 1:
            assert row[kept].sum() - row[kept].min() < share * row.sum() or share == 1.0


@both
@given(election=elections(batch=st.just(3)))
def test_an_image_keeps_the_same_alone_and_among_others(select, election):
    drawn, keep = election
    together = select(drawn, keep)
    for row in range(3):
        assert torch.equal(select(drawn[row : row + 1], keep), together[row : row + 1])


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@given(data=st.data())
def test_half_precision_scores_are_chosen_from_like_their_float32_copies(select, dtype, data):
    drawn, keep = data.draw(elections(dtype=dtype))
    assert torch.equal(select(drawn, keep), select(drawn.float(), keep))


@both
@given(data=st.data(), tokens=st.integers(1, 9))
def test_tokens_with_different_scores_are_chosen_wherever_they_stand(select, data, tokens):
    drawn = torch.tensor([data.draw(st.permutations(range(tokens)))]).float()
    order = torch.tensor(data.draw(st.permutations(range(tokens))))
    keep = data.draw(keeps(tokens))
    assert torch.equal(select(drawn[:, order], keep), select(drawn, keep)[:, order])


@given(drawn=scores())
def test_adding_the_same_to_every_score_changes_nothing_for_top_k(drawn):
    assert torch.equal(top_k(drawn + 8, 0.5), top_k(drawn, 0.5))
