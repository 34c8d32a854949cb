"""Votes, and votes that are made when they are read."""

import pytest
import torch

from tokprune import BackendError, InvalidValueError, Votes
from tokprune.functional import attention_probabilities, borda_scores, catp_scores, exact_sum, received_attention
from tokprune.votes import AttentionVotes

QUERY, KEY = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 5, 8)
PROBABILITIES = attention_probabilities(QUERY, KEY, 0.5)
either_side = pytest.mark.parametrize("candidates", ["query", "key"])


def attention_votes(candidates, query=QUERY, key=KEY, **options):
    return AttentionVotes(query, key, 0.5, candidates=candidates, **options)


def test_complex_votes_are_refused():
    with pytest.raises(InvalidValueError, match=r"Votes: values must be real numbers, got torch.complex64"):
        Votes(torch.zeros(1, 2, 3, dtype=torch.complex64))


def test_keys_vote_for_queries_head_by_head():
    votes = attention_votes("query")
    assert votes.shape == (2, 3 * 5, 4)
    expected = torch.stack([PROBABILITIES[:, h, :, n] for h in range(3) for n in range(5)], dim=1)
    assert torch.equal(votes.values, expected)


def test_queries_vote_for_keys_head_by_head():
    votes = attention_votes("key")
    assert votes.shape == (2, 3 * 4, 5)
    expected = torch.stack([PROBABILITIES[:, h, q] for h in range(3) for q in range(4)], dim=1)
    assert torch.equal(votes.values, expected)


@either_side
def test_the_shape_is_known_before_the_votes_are_made(candidates):
    votes = attention_votes(candidates)
    assert votes.shape == tuple(votes.values.shape)
    assert votes.by_head.shape == (2, 3, votes.shape[1] // 3, votes.shape[2])
    assert torch.equal(votes.by_head.flatten(1, 2), votes.values)


@either_side
def test_votes_are_made_anew_at_every_read(candidates):
    votes = attention_votes(candidates)
    assert votes.values is not votes.values
    assert torch.equal(votes.values, votes.values)


@either_side
@pytest.mark.parametrize("heads", [1, 3])
def test_shared_keys_of_grouped_queries_vote_in_every_head(candidates, heads):
    shared = attention_votes(candidates, key=KEY[:, :heads])
    spread = attention_votes(candidates, key=KEY[:, :heads].repeat_interleave(3 // heads, dim=1))
    assert shared.shape == spread.shape
    assert torch.equal(shared.values, spread.values)


@either_side
def test_queries_that_are_the_same_for_all_images_are_broadcast(candidates):
    votes = attention_votes(candidates, query=QUERY[:1])
    assert votes.shape[0] == 2
    assert torch.equal(votes.values, attention_votes(candidates, query=QUERY[:1].expand(2, -1, -1, -1)).values)
    assert torch.equal(votes.values[0], attention_votes(candidates).values[0])


@either_side
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_queries_make_float32_votes(candidates, dtype):
    votes = attention_votes(candidates, QUERY.to(dtype), KEY.to(dtype))
    assert votes.values.dtype == torch.float32
    wide = attention_votes(candidates, QUERY.to(dtype).float(), KEY.to(dtype).float())
    assert torch.equal(votes.values, wide.values)


def test_a_hidden_key_gives_no_query_a_vote_and_gets_none():
    mask = torch.tensor([True, True, False, True, True])
    assert (attention_votes("query", mask=mask).by_head[:, :, 2] == 0).all()
    assert (attention_votes("key", mask=mask).values[:, :, 2] == 0).all()
    assert (attention_votes("key", mask=mask).values[:, :, 1] > 0).all()


def test_votes_of_image_tokens_counted_by_borda_are_catp():
    from tokprune.aggregators import Borda

    assert torch.equal(Borda()([attention_votes("query")]), catp_scores(PROBABILITIES))


def test_votes_of_queries_added_up_are_received_attention():
    from tokprune.aggregators import Total

    torch.testing.assert_close(Total()([attention_votes("key")]), received_attention(PROBABILITIES))


def test_weights_of_the_others_count_in_every_head():
    weights = torch.rand(2, 5)
    votes = attention_votes("query").with_weights(weights)
    assert torch.equal(votes.weights, torch.cat([weights] * 3, dim=1))
    plain = Votes(votes.values, heads=3).with_weights(weights)
    assert torch.equal(plain.weights, votes.weights)


def test_weights_of_all_voters_are_taken_as_they_are():
    weights = torch.rand(2, 15)
    assert torch.equal(attention_votes("query").with_weights(weights).weights, weights)
    assert attention_votes("query", weights=weights).with_weights(None).weights is None


@either_side
def test_weighing_changes_no_vote_and_not_the_votes_it_came_from(candidates):
    votes = attention_votes(candidates, layer=2)
    weighed = votes.with_weights(torch.rand(2, votes.shape[1]))
    assert torch.equal(weighed.values, votes.values)
    assert (weighed.layer, weighed.heads, votes.weights) == (2, 3, None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Votes(torch.rand(2, 3)), r"values must have shape \[batch voter token\], got \(2, 3\)"),
        (lambda: Votes([[1.0]]), "values must be a tensor"),
        (lambda: Votes(torch.rand(1, 4, 3), torch.rand(1, 3)), r"weights .* must have shape \(1, 4\), got \(1, 3\)"),
        (lambda: Votes(torch.rand(1, 4, 3), heads=3), "4 voters do not split into 3 heads"),
        (lambda: Votes(torch.rand(1, 4, 3), heads=0), "do not split"),
        (lambda: attention_votes("key", QUERY[0]), r"query must have shape \[batch head query dim\]"),
        (lambda: attention_votes("key", key=KEY[0]), r"key must have shape \[batch head key dim\]"),
        (lambda: attention_votes("query", protected=4), "protected must leave at least one of 4 tokens, got 4"),
        (lambda: attention_votes("query").with_weights(torch.rand(2, 4)), r"must have shape \(2, 15\), got \(2, 4\)"),
    ],
)
def test_a_wrong_shape_says_what_was_expected(make, message):
    with pytest.raises(InvalidValueError, match=message):
        make()


COUNTED = {"points": borda_scores, "total": exact_sum}
both_counts = pytest.mark.parametrize("count", COUNTED)


@both_counts
def test_votes_are_counted_as_the_pure_functions_count_them(count):
    votes = Votes(torch.rand(2, 6, 4), torch.rand(2, 6))
    assert torch.equal(getattr(votes, count)(), COUNTED[count](votes.values, votes.weights))


@either_side
@both_counts
@pytest.mark.parametrize("weighted", [False, True])
def test_attention_is_counted_as_its_values_are(candidates, count, weighted):
    votes = attention_votes(candidates)
    votes = votes.with_weights(torch.rand(votes.shape[:2]) if weighted else None)
    torch.testing.assert_close(getattr(votes, count)(), COUNTED[count](votes.values, votes.weights))


@either_side
@both_counts
def test_protected_tokens_are_no_candidates_but_share_the_softmax(candidates, count):
    votes, all_tokens = attention_votes(candidates, protected=2), attention_votes(candidates)
    assert votes.shape == (2, all_tokens.shape[1], all_tokens.shape[2] - 2)
    assert torch.equal(votes.values, all_tokens.values[..., 2:])
    torch.testing.assert_close(getattr(votes, count)(), COUNTED[count](votes.values))


@either_side
@both_counts
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mask", [None, torch.rand(2, 1, 4, 5) > 0.3, torch.tensor([True, True, False, True, True])])
def test_some_voters_of_each_head_can_be_asked_alone(candidates, count, weighted, mask):
    votes = attention_votes(candidates, mask=mask, protected=1)
    votes = votes.with_weights(torch.rand(votes.shape[:2]) if weighted else None)
    alone = votes.of_voters(1, 3)
    chosen = torch.tensor([1, 2]) + votes.shape[1] // 3 * torch.arange(3)[:, None]
    assert alone.shape == (2, 6, votes.shape[2])
    assert torch.equal(alone.values, votes.values[:, chosen.flatten()])
    weights = votes.weights[:, chosen.flatten()] if weighted else None
    assert alone.weights is None if not weighted else torch.equal(alone.weights, weights)
    torch.testing.assert_close(getattr(alone, count)(), COUNTED[count](alone.values, weights))
    plain = Votes(votes.values, votes.weights, heads=3).of_voters(1, 3)
    assert torch.equal(plain.values, alone.values)
    assert torch.equal(getattr(plain, count)(), COUNTED[count](alone.values, weights))


@either_side
def test_voters_chosen_twice_are_counted_from_the_first_choice(candidates):
    votes = attention_votes(candidates, protected=1)
    assert torch.equal(votes.of_voters(1, 4).of_voters(1, 3).values, votes.of_voters(2, 4).values)
    assert votes.of_voters(1, 3).with_weights(torch.rand(2, 2)).weights.shape == (2, 6)


@pytest.mark.parametrize(("start", "stop"), [(0, 6), (2, 2), (-1, 3)])
def test_voters_that_are_not_there_cannot_be_asked(start, stop):
    for votes in (attention_votes("query"), Votes(torch.rand(2, 15, 4), heads=3)):
        with pytest.raises(InvalidValueError, match=f"voters 0 to 4, .* got {start} and {stop}"):
            votes.of_voters(start, stop)


@both_counts
def test_votes_given_as_numbers_are_counted_by_torch_alone(count):
    votes = Votes(torch.rand(1, 2, 3))
    with pytest.raises(BackendError, match="only 'reference'"):
        getattr(votes, count)(backend="triton")
    with pytest.raises(InvalidValueError, match="'auto', 'reference', 'triton', got 'cuda'"):
        getattr(votes, count)(backend="cuda")


def test_votes_print_their_shape_and_not_their_numbers():
    votes = Votes(torch.rand(1, 4, 3), torch.rand(1, 4), layer=2, heads=2)
    assert repr(votes) == "Votes(shape=(1, 4, 3), layer=2, heads=2, weighted)"


@pytest.mark.parametrize("key", [torch.zeros(2, 1, 4, 9), torch.zeros(3, 1, 4, 8)])
def test_queries_and_keys_that_do_not_belong_together_are_refused(key):
    with pytest.raises(InvalidValueError, match="same dim"):
        AttentionVotes(torch.zeros(2, 1, 4, 8), key, scale=1.0, candidates="query")
