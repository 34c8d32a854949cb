"""How numbers become ballots: seen through what is kept, since a voter's only approved token wins against nobody."""

from __future__ import annotations

import pytest
import torch
from helpers_committees import RULES, keep, selector
from hypothesis import given, settings
from hypothesis import strategies as st

from tokprune import InvalidValueError, Policy, Votes
from tokprune.functional import top_k
from tokprune.testing import votes as some_votes


@pytest.mark.parametrize("rule", RULES)
def test_approve_decides_who_is_kept(rule):
    # The first voter likes a best and b and c nearly as much; two like d and e. By the mean (a, b, c against d, e), by
    # the best one (a, d) and by the best three (ties included) different tokens stay.
    values = torch.tensor([[[9.0, 8.0, 7.0, 0.0, 0.0], [0, 0, 1, 4, 0], [0, 0, 1, 0, 4]]])
    scores = torch.tensor([[0.0, 5, 3, 2, 1]])
    kept = {
        a: keep(f"{rule}:approve={a}", values, 1, scores=scores).int().argmax().item() for a in ("above-mean", 1, 2)
    }
    assert kept == {"above-mean": 1, 1: 3, 2: 2}


@pytest.mark.parametrize("rule", RULES)
def test_equal_votes_are_treated_alike(rule):
    # Each voter's second-best is shared by two tokens: both are approved, and the scores decide.
    values = torch.tensor([[[3.0, 2.0, 2.0, 0.0]] * 3])
    for scores, second in (((9.0, 2, 1, 0), 1), ((9.0, 1, 2, 0), 2)):
        kept = keep(f"{rule}:approve=2", values, 2, scores=torch.tensor([scores]))
        assert kept[0].nonzero().flatten().tolist() == [0, second]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("approve", ["above-mean", 0.5, 1])
def test_ballots_that_say_nothing_leave_it_to_the_scores(rule, approve):
    values = torch.full((2, 5, 6), 0.1)
    scores = torch.tensor([[3.0, 1, 2, 3, 0, 5], [0.0, 0, 0, 0, 0, 0]])
    for seats in (1, 3, 6):
        kept = keep(f"{rule}:approve={approve}", values, seats, scores=scores)
        assert torch.equal(kept, top_k(scores, seats))


@pytest.mark.parametrize("rule", RULES)
@given(votes=some_votes(voters=st.integers(2, 6), tokens=st.integers(2, 6)), data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_voter_who_approves_nobody_is_as_good_as_not_there(rule, votes, data):
    seats = data.draw(st.integers(1, votes.shape[2]))
    scores = votes.total()
    silent = torch.full_like(votes.values[:, :3], data.draw(st.sampled_from([0.0, 0.3, 0.9, -7.0])))
    joined = Votes(torch.cat([silent, votes.values], dim=1), None)
    alone = selector(rule)(scores, seats, votes=[Votes(votes.values)])
    assert torch.equal(selector(rule)(scores, seats, votes=[joined]), alone)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seats", [1, 2, 3])
def test_voters_who_approve_all_leave_the_others_their_say(rule, seats):
    # approve=4 approves everybody; by the scores 0 and 1 would stay, but the two who care bring in 3 and 2.
    flat = torch.ones(1, 2, 4)
    pointed = torch.tensor([[[0.0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0]]])
    scores = torch.tensor([[4.0, 3, 2, 1]])
    kept = keep(f"{rule}:approve=1", torch.cat([flat, pointed], dim=1), seats, scores=scores)
    assert kept[0].tolist() == [seats > 2, False, seats > 1, True]


@pytest.mark.parametrize("rule", RULES)
@given(values=some_votes(weighted=False, tokens=st.integers(1, 6)), seats=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_a_single_voter_gets_its_best_tokens(rule, values, seats):
    one = values.values[:, :1]
    seats = min(seats, one.shape[2])
    assert torch.equal(keep(rule, one, seats, scores=one[:, 0]), top_k(one[:, 0], seats))


@pytest.mark.parametrize(("value", "tokens"), [(0.9, 3), (0.3, 7), (0.7, 11), (0.1, 24), (0.1, 50)])
def test_the_mean_is_not_a_matter_of_rounding(value, tokens):
    # As float32 has it, the mean of that many equal votes is less than each: the flat voters would approve all.
    flat = torch.full((1, 6, tokens), value)
    assert bool((flat > flat.mean(dim=2, keepdim=True)).all())
    pointed = torch.rand(1, 9, tokens, generator=torch.Generator().manual_seed(tokens)) ** 4
    scores = torch.arange(tokens, 0, -1).float()[None]
    for rule in RULES:
        for seats in range(1, min(tokens, 8)):
            kept = keep(rule, torch.cat([flat, pointed], dim=1), seats, scores=scores)
            assert torch.equal(kept, keep(rule, pointed, seats, scores=scores))


@pytest.mark.parametrize("rule", RULES)
def test_a_vote_at_the_mean_is_not_above_it(rule):
    # The mean is -1. Thirds of the largest vote are not binary numbers; divided by it, -1 would be above the mean.
    kept = keep(rule, torch.tensor([[[-3.0, -1.0, 1.0]]]), 1, scores=torch.tensor([[1.0, 2.0, 0.0]]))
    assert kept[0].tolist() == [False, False, True]


@pytest.mark.parametrize("rule", RULES)
def test_infinite_votes_are_votes(rule):
    values = torch.tensor([[[-torch.inf, 1.0, 2.0, -torch.inf], [torch.inf, 1.0, 2.0, 3.0]]])
    kept = keep(rule, values, 3, scores=torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert kept[0].tolist() == [True, True, True, False]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_of_the_votes_changes_nothing_but_the_votes(rule, dtype):
    values = torch.rand(2, 60, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
    scores = values.double().sum(dim=1)
    exact = values.float() if dtype != torch.float64 else values.float().double()
    for approve in ("above-mean", 0.25):
        kept = keep(f"{rule}:approve={approve}", values if dtype != torch.float64 else exact, 5, scores=scores)
        assert torch.equal(kept, keep(f"{rule}:approve={approve}", exact.float(), 5, scores=scores))


@pytest.mark.parametrize("rule", RULES)
def test_a_number_above_the_number_of_tokens_approves_all(rule):
    scores = torch.tensor([[1.0, 3.0, 2.0]])
    kept = keep(f"{rule}:approve=8", torch.tensor([[[3.0, 1.0, 2.0]]]), 2, scores=scores)
    assert torch.equal(kept, top_k(scores, 2))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bad", [0, 1.5, 0.0, -0.5, True, "mean", None, [0.5], float("nan")])
def test_bad_ways_to_approve_are_refused(rule, bad):
    kind = type(Policy(selector=rule).selector)
    with pytest.raises(InvalidValueError, match=f"{rule}: approve must be 'above-mean', a share"):
        kind(approve=bad)


def test_bad_completions_are_refused():
    with pytest.raises(InvalidValueError, match="equal-shares: completion must be 'phragmen' or 'scores', got 'luck'"):
        Policy(selector="equal-shares:completion=luck")
