"""What the rules promise: proportionality, and the symmetries of a fair election."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from helpers_committees import RULES, from_sets, keep, letters, selector
from hypothesis import given, settings
from hypothesis import strategies as st
from textbook_rules import approves

from tokprune import Votes
from tokprune.functional import top_k
from tokprune.testing import votes as some_votes


def deserving(votes: Votes, seats: int, size: int):
    """Groups that deserve `size` seats and agree on as many tokens: image, its ballots and weights, and the quota."""
    for image, ballots in enumerate(votes.values.tolist()):
        sets = [approves(ballot, "above-mean") for ballot in ballots]
        weights = [1.0] * len(sets) if votes.weights is None else votes.weights[image].tolist()
        quota = size * sum(weights) / seats
        for common in combinations(range(votes.shape[2]), size):
            group = [(ballot, weight) for ballot, weight in zip(sets, weights, strict=True) if ballot >= set(common)]
            if sum(weight for _, weight in group) >= quota:
                yield image, group, quota


def extended(votes: Votes, kept: torch.Tensor, seats: int, sizes: range) -> bool:
    """EJR: of every group that deserves l seats and agrees on l tokens, somebody has l approved tokens kept."""
    for size in sizes:
        for image, group, quota in deserving(votes, seats, size):
            chosen = set(kept[image].nonzero().flatten().tolist())
            if sum(weight for ballot, weight in group if len(ballot & chosen) < size) >= quota:
                return False
    return True


def proportional(votes: Votes, kept: torch.Tensor, seats: int) -> bool:
    """PJR: of such a group's approved tokens together, at least l are kept."""
    for size in range(1, seats + 1):
        for image, group, quota in deserving(votes, seats, size):
            chosen = set(kept[image].nonzero().flatten().tolist())
            for few in combinations(sorted(chosen), size - 1):
                if sum(weight for ballot, weight in group if ballot & chosen <= set(few)) >= quota:
                    return False
    return True


@st.composite
def elections(draw, most_seats=6):
    votes = draw(some_votes(voters=st.integers(1, 8), tokens=st.integers(2, 6)))
    return votes, draw(st.integers(1, min(most_seats, votes.shape[2])))


def justified(votes: Votes, kept: torch.Tensor, seats: int) -> bool:
    """JR: nobody of a large group that agrees on a token is left with nothing."""
    return extended(votes, kept, seats, range(1, 2))


@pytest.mark.parametrize("axiom", [justified, proportional])
def test_top_k_breaks_the_axioms_so_they_say_something(axiom):
    votes = Votes(from_sets(["ab", "ab", "cd"], "abcd"))
    kept = top_k(votes.total(), 3)
    assert letters(kept, "abcd") == "abc"
    assert axiom(votes, kept, 3)
    votes = Votes(from_sets(["abc"] * 4 + ["def"] * 2, "abcdef"))
    assert not axiom(votes, top_k(votes.total(), 3), 3)  # a third of the voters and nothing


def test_extended_asks_more_than_proportional_asks_more_than_justified():
    # Six of ten deserve three of five seats and agree on a, b, c; together they approve of the three others kept, but
    # nobody has more than two of them.
    ballots = ["abcde", "abcdf", "abcef", "abcd", "abce", "abcf", "g", "g", "h", "h"]
    votes, kept = Votes(from_sets(ballots, "abcdefgh")), torch.tensor([[False] * 3 + [True] * 5])
    assert proportional(votes, kept, 5)
    assert not extended(votes, kept, 5, range(1, 6))
    fewer = torch.tensor([[True] + [False] * 2 + [False] * 3 + [True] * 2])
    assert justified(votes, fewer, 5)
    assert not proportional(votes, fewer, 5)


@given(election=elections())
@settings(max_examples=50, deadline=None)
def test_phragmen_gives_groups_their_proportion(election):
    votes, seats = election
    assert proportional(votes, selector("phragmen")(votes.total(), seats, votes=[votes]), seats)


@pytest.mark.parametrize("completion", ["phragmen", "scores"])
@given(election=elections())
@settings(max_examples=50, deadline=None)
def test_equal_shares_gives_somebody_in_a_group_its_full_share(completion, election):
    votes, seats = election
    kept = selector(f"equal-shares:completion={completion}")(votes.total(), seats, votes=[votes])
    assert extended(votes, kept, seats, range(1, seats + 1))


@given(election=elections(most_seats=5))  # with more seats sequential PAV does not promise it
@settings(max_examples=50, deadline=None)
def test_pav_leaves_no_large_group_with_nothing(election):
    votes, seats = election
    assert justified(votes, selector("pav")(votes.total(), seats, votes=[votes]), seats)


def regions(left: int, right: int, noise: float = 0.2) -> torch.Tensor:
    """Voters of two regions, each of which looks at its own half of 20 tokens, more or less."""
    generator = torch.Generator().manual_seed(left)
    votes = torch.rand(1, left + right, 20, generator=generator) * noise
    votes[0, :left, :10] += 1
    votes[0, left:, 10:] += 1
    return votes


@pytest.mark.parametrize("rule", RULES)
def test_every_region_gets_a_say(rule):
    values = regions(70, 30)
    assert top_k(values.sum(dim=1), 10)[0, 10:].sum() == 0  # one side takes it all
    kept = keep(rule, values, 10)
    assert kept[0, :10].sum() == 7
    assert kept[0, 10:].sum() == 3


@pytest.mark.parametrize("rule", RULES)
def test_weights_are_voters_too(rule):
    values = regions(10, 10)
    weights = torch.tensor([[8.0] * 10 + [2.0] * 10])
    assert keep(rule, values, 10)[0, 10:].sum() == 5
    assert keep(rule, values, 10, weights=weights)[0, 10:].sum() == 2


@pytest.mark.parametrize("rule", RULES)
@given(votes=some_votes(voters=st.integers(1, 6), weighted=False, batch=st.just(1)), data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_weight_is_that_many_voters(rule, votes, data):
    copies = data.draw(st.lists(st.integers(0, 5), min_size=votes.shape[1], max_size=votes.shape[1]))
    seats, scores = data.draw(st.integers(1, votes.shape[2])), votes.total()
    crowd = votes.values.repeat_interleave(torch.tensor(copies), dim=1)
    if crowd.shape[1] == 0:
        return
    weights = torch.tensor([copies], dtype=torch.float32) * data.draw(st.sampled_from([1.0, 0.25, 3.0]))
    kept = selector(rule)(scores, seats, votes=[Votes(votes.values, weights)])
    assert torch.equal(kept, selector(rule)(scores, seats, votes=[Votes(crowd)]))


@pytest.mark.parametrize("rule", RULES)
@given(votes=some_votes(voters=st.integers(2, 8)), data=st.data())
@settings(max_examples=30, deadline=None)
def test_neither_the_order_of_the_voters_nor_their_layer_matters(rule, votes, data):
    seats, scores = data.draw(st.integers(1, votes.shape[2])), votes.total()
    order = torch.tensor(data.draw(st.permutations(range(votes.shape[1]))))
    values, weights = votes.values[:, order], None if votes.weights is None else votes.weights[:, order]
    cut = data.draw(st.integers(1, len(order) - 1))
    layers = [
        Votes(values[:, some], None if weights is None else weights[:, some])
        for some in (slice(0, cut), slice(cut, None))
    ]
    kept = selector(rule)(scores, seats, votes=[votes])
    assert torch.equal(selector(rule)(scores, seats, votes=layers), kept)


def test_a_layer_can_matter():
    one, other = Votes(regions(7, 3)), Votes(regions(3, 7))
    for rule in RULES:
        assert not torch.equal(
            selector(rule)(one.total(), 4, votes=[one]), selector(rule)(one.total(), 4, votes=[one, other])
        )


@pytest.mark.parametrize("rule", RULES)
@given(votes=some_votes(voters=st.integers(1, 8)), data=st.data())
@settings(max_examples=30, deadline=None)
def test_the_choice_follows_the_tokens(rule, votes, data):
    tokens = votes.shape[2]
    seats, order = data.draw(st.integers(1, tokens)), torch.tensor(data.draw(st.permutations(range(tokens))))
    scores = torch.tensor([data.draw(st.permutations(range(tokens))) for _ in range(votes.shape[0])]).float()
    kept = selector(rule)(scores, seats, votes=[votes])
    moved = selector(rule)(scores[:, order], seats, votes=[Votes(votes.values[:, :, order], votes.weights)])
    assert torch.equal(moved, kept[:, order])


@pytest.mark.parametrize("rule", ["phragmen", "pav"])
@given(votes=some_votes(voters=st.integers(1, 8)))
@settings(max_examples=30, deadline=None)
def test_more_seats_keep_what_was_kept(rule, votes):
    scores = votes.total()
    before = torch.zeros(scores.shape, dtype=torch.bool)
    for seats in range(1, votes.shape[2] + 1):
        kept = selector(rule)(scores, seats, votes=[votes])
        assert bool((kept >= before).all())
        before = kept


def test_equal_shares_may_drop_a_token_when_there_are_more_seats():
    values = from_sets(["acd", "cd", "abc", "abc", "bd"], "abcd")
    assert [letters(keep("equal-shares", values, seats), "abcd") for seats in (1, 2, 3)] == ["c", "bc", "acd"]


@pytest.mark.parametrize("rule", RULES)
def test_ties_go_to_the_score_then_to_the_lower_index(rule):
    values = torch.tensor([[[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0]]])
    kept = keep(rule, values, 2, scores=torch.tensor([[1.0, 2, 2, 1, 1, 9]]))
    assert kept[0].nonzero().flatten().tolist() == [1, 3]


@pytest.mark.parametrize("rule", RULES)
def test_thirds_tie_with_one(rule):
    # In PAV three voters with two kept tokens each count 3 * 1/3, as much as a new one: the score decides. The other
    # rules meet such sums in their loads and budgets. In float64 1/3 + 1/3 + 1/3 and 1/10 ten times are near misses.
    values = torch.tensor([[[1.0, 1, 1, 0]] * 3 + [[0.0, 0, 0, 1]]])
    low, high = torch.tensor([[9.0, 8, 1, 2]]), torch.tensor([[9.0, 8, 2, 1]])
    assert keep("pav", values, 3, scores=low)[0].tolist() == [True, True, False, True]
    assert keep("pav", values, 3, scores=high)[0].tolist() == [True, True, True, False]
    for copies in (3, 7, 10, 49):  # as many voters per seat: everybody's money is just enough
        people = torch.eye(4).repeat_interleave(copies, dim=0)[None]
        assert keep(rule, people, 2, scores=torch.tensor([[1.0, 2, 2, 1]]))[0].tolist() == [False, True, True, False]


@pytest.mark.parametrize("copies", [3, 7, 10, 49, 64, 70, 100, 333])
def test_who_can_just_pay_can_pay(copies):
    # Five seats, five groups of equal size, each with money for just its own token, in fractions that float64 rounds.
    people = torch.eye(5, 6).repeat_interleave(copies, dim=0)[None]
    weights = torch.rand(1, copies, dtype=torch.float64, generator=torch.Generator().manual_seed(copies)).repeat(1, 5)
    scores = torch.tensor([[0.0, 0, 0, 0, 0, 1]])
    for some in (None, weights):
        kept = keep("equal-shares:completion=scores", people, 5, scores=scores, weights=some)
        assert kept[0].tolist() == [True] * 5 + [False]
