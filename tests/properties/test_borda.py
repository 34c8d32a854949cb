"""What must hold for Borda count and CATP, which is Borda count by image tokens."""

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from tokprune.functional import average_ranks, borda_scores, catp_scores, top_k
from tokprune.testing import ballots, keeps, voter_weights, votes

from .laws import kept_set

MAPS = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))
INCREASING = {
    "twice": lambda x: 2 * x,
    "plus eight": lambda x: x + 8,
    "cubed": lambda x: x**3,
    "an eighth": lambda x: x / 8,
    "from -1/4 on": lambda x: x.clamp(min=-0.25) + (x + 0.25).clamp(max=0) / 1024,
}


def attention_map(batch, heads, queries, images, seed):
    """Attention probabilities [batch head query image]."""
    logits = torch.randn(batch, heads, queries, images, generator=torch.Generator().manual_seed(seed))
    return (2 * logits).softmax(dim=-1)


@given(values=ballots(voters=st.integers(1, 5), tokens=st.integers(1, 9)))
def test_ranks_are_those_of_scipy_with_ties_averaged(values):
    expected = rankdata(values.numpy(), method="average", axis=-1) - 1
    np.testing.assert_array_equal(average_ranks(values).numpy(), expected)


@given(values=ballots(), transform=st.sampled_from(list(INCREASING)))
def test_an_increasing_transform_of_the_ballots_changes_no_score(values, transform):
    assert torch.equal(borda_scores(INCREASING[transform](values)), borda_scores(values))


@given(data=st.data(), values=ballots(voters=st.integers(2, 4)))
def test_every_voter_may_use_a_scale_of_their_own(data, values):
    scale = data.draw(voter_weights(*values.shape[:2]))
    assert torch.equal(borda_scores(values * scale[..., None]), borda_scores(values))


@given(electorate=votes(voters=st.integers(1, 6), tokens=st.integers(1, 9)))
def test_every_voter_hands_out_its_weight_times_all_pairs(electorate):
    weights = torch.ones(electorate.shape[:2]) if electorate.weights is None else electorate.weights
    pairs = electorate.shape[2] * (electorate.shape[2] - 1) / 2
    assert torch.equal(borda_scores(electorate.values, electorate.weights).sum(1), weights.sum(1) * pairs)


@given(shape=MAPS)
def test_one_layer_of_catp_hands_out_all_pairs_per_head_and_image_token(shape):
    _, heads, queries, images, _ = shape
    expected = heads * images * queries * (queries - 1) / 2
    assert (catp_scores(attention_map(*shape)).sum(dim=1) == expected).all()


@given(shape=MAPS, weight=st.sampled_from([0.25, 1.0, 7.0]))
def test_uniform_image_weights_scale_all_scores_of_catp_alike(shape, weight):
    attention = attention_map(*shape)
    uniform = torch.full((shape[0], shape[3]), weight)
    assert torch.equal(catp_scores(attention, uniform), weight * catp_scores(attention))


def test_non_uniform_image_weights_can_change_what_catp_keeps():
    def changes(case):
        shape, weights = case
        attention = attention_map(1, 1, 3, 3, shape)
        kept = [kept_set(top_k(catp_scores(attention, w), 1)) for w in (None, weights)]
        return kept[0] != kept[1]

    hypothesis.find(st.tuples(st.integers(0, 50), voter_weights(1, 3)), changes)


def test_non_uniform_voter_weights_can_change_what_borda_keeps():
    values = torch.tensor([[[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]])
    heavy = torch.tensor([[1.0, 1.0, 3.0]])
    assert kept_set(top_k(borda_scores(values), 1)) == [1]
    assert kept_set(top_k(borda_scores(values, heavy), 1)) == [0]


def test_a_weight_on_the_ballot_cannot_change_anything_where_one_on_the_points_does():
    values = torch.tensor([[[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]])
    heavy = torch.tensor([[1.0, 1.0, 3.0]])
    assert torch.equal(borda_scores(values * heavy[..., None]), borda_scores(values))
    assert not torch.equal(borda_scores(values, heavy), borda_scores(values))


@given(data=st.data(), shape=MAPS)
def test_neutrality_of_catp_permuting_query_tokens_permutes_scores(data, shape):
    attention = attention_map(*shape)
    order = torch.tensor(data.draw(st.permutations(range(shape[2]))))
    assert torch.equal(catp_scores(attention[:, :, order]), catp_scores(attention)[:, order])


@given(data=st.data(), shape=MAPS)
def test_anonymity_of_catp_permuting_image_tokens_with_their_weights_changes_nothing(data, shape):
    attention, weights = attention_map(*shape), data.draw(voter_weights(shape[0], shape[3]))
    order = torch.tensor(data.draw(st.permutations(range(shape[3]))))
    assert torch.equal(catp_scores(attention[..., order], weights[:, order]), catp_scores(attention, weights))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@given(shape=MAPS)
def test_half_precision_maps_full_of_ties_rank_like_their_float32_copies(dtype, shape):
    half = attention_map(*shape).to(dtype)
    assert torch.equal(catp_scores(half), catp_scores(half.float()))


def test_half_precision_maps_really_are_full_of_ties():
    ballots = attention_map(1, 2, 32, 257, 0).transpose(2, 3).flatten(1, 2)[0]

    def with_ties(ballots):
        ordered = ballots.sort(dim=1).values
        return (ordered[:, 1:] == ordered[:, :-1]).any(dim=1).float().mean()

    assert with_ties(ballots) < 0.01
    assert with_ties(ballots.bfloat16()) > 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_points_beyond_float16_are_counted_exactly(dtype):
    heads, images, queries = 12, 257, 32
    attention = torch.linspace(0.1, 0.9, queries).to(dtype).view(1, 1, queries, 1).expand(1, heads, queries, images)
    points = catp_scores(attention)
    assert points.max() == 12 * 257 * 31 == 95_604 > torch.finfo(torch.float16).max
    assert torch.equal(points[0], 12 * 257 * torch.arange(32.0))


@given(shape=MAPS)
def test_catp_scores_an_image_alone_as_among_others(shape):
    attention = torch.cat([attention_map(*shape), attention_map(*shape[:4], shape[4] + 1)])
    together = catp_scores(attention)
    for row in range(len(attention)):
        assert torch.equal(catp_scores(attention[row : row + 1]), together[row : row + 1])


@given(data=st.data(), values=ballots(batch=st.just(1), tokens=st.integers(2, 6)))
def test_equal_tokens_score_the_same_wherever_they_stand(data, values):
    first, second = data.draw(st.permutations(range(values.shape[2])))[:2]
    values[..., second] = values[..., first]
    points = borda_scores(values)[0]
    assert points[first] == points[second]


@given(data=st.data(), values=ballots(batch=st.just(1)))
def test_kept_sets_do_not_depend_on_the_order_of_the_voters(data, values):
    keep = data.draw(keeps(values.shape[2]))
    order = torch.tensor(data.draw(st.permutations(range(values.shape[1]))))
    assert torch.equal(top_k(borda_scores(values[:, order]), keep), top_k(borda_scores(values), keep))
