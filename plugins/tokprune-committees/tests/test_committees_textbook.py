"""The numbers: examples of the literature, and any small electorate against plain fractions."""

from __future__ import annotations

import pytest
import torch
from helpers_committees import RULES, expected, from_sets, keep, letters, selector
from hypothesis import given, settings
from hypothesis import strategies as st
from textbook_rules import lowest_price

from tokprune import Votes
from tokprune.testing import votes as some_votes

# Lackner and Skowron, Multi-Winner Voting with Approval Preferences: the running example (2.1, k = 4), Examples 2.5
# (k = 2) and 2.12 (k = 3).
RUNNING = from_sets(["ab"] * 3 + ["ac"] * 3 + ["ad"] * 2 + ["bcf", "e", "f", "g"], "abcdefg")
EXAMPLE_5 = from_sets(["ab"] * 3 + ["ad"] * 6 + ["b"] * 4 + ["c"] * 5 + ["cd"] * 5, "abcd")
EXAMPLE_12 = from_sets(["cd"] * 3 + ["ab"] * 2 + ["ac"] * 2 + ["bd"], "abcd")


@pytest.mark.parametrize(
    ("spec", "example", "seats", "committee"),
    [
        ("phragmen", RUNNING, 4, "abcd"),  # Example 2.9
        ("pav", RUNNING, 4, "abcf"),
        ("equal-shares", RUNNING, 4, "abcd"),  # Example 2.11
        ("pav", EXAMPLE_5, 2, "cd"),  # Example 2.5: where PAV as an optimisation keeps a and c
        ("phragmen", EXAMPLE_12, 3, "bcd"),  # Example 2.12
        ("equal-shares", EXAMPLE_12, 3, "acd"),  # Example 2.12: d comes by the second phase
        ("top-k", RUNNING, 4, "abcd"),
    ],
)
def test_examples_of_the_literature(spec, example, seats, committee):
    scores = example.sum(dim=1)
    votes = {"votes": [Votes(example)]} if spec != "top-k" else {}
    assert letters(selector(spec)(scores, seats, **votes), "abcdefg"[: scores.shape[1]]) == committee


def test_completion_by_scores_can_keep_another_token():
    # After a and c nobody can pay (Example 2.12): the second phase takes d, the scores here take b.
    scores = torch.tensor([[1.0, 4.0, 2.0, 3.0]])
    assert letters(keep("equal-shares", EXAMPLE_12, 3, scores=scores), "abcd") == "acd"
    assert letters(keep("equal-shares:completion=scores", EXAMPLE_12, 3, scores=scores), "abcd") == "abc"


def test_nobody_spends_more_than_there_is():
    # Each has 3/4. a is bought at 1/2; for c the first has 1/4 left, gives it, and the second pays 3/4. Then nobody can
    # pay: with loads of 3/4 and 0, d would cost its two approvers (1 + 3/4) / 2 each, and b its one approver 1.
    values = from_sets(["acd", "c", "bd", "a"], "abcd")
    assert letters(keep("equal-shares", values, 3, scores=torch.zeros(1, 4)), "abcd") == "acd"


def test_the_textbook_finds_the_price_by_hand():
    assert lowest_price([(0.25, 1), (0.5, 1), (0.5, 1)]) == 0.375  # the first gives all, the others share the rest
    assert lowest_price([(0.25, 1), (0.5, 2)]) == 0.375
    assert lowest_price([(0.25, 1), (0.5, 1)]) is None


@st.composite
def elections(draw):
    votes = draw(some_votes(voters=st.integers(1, 7), tokens=st.integers(1, 6)))
    batch, _, count = votes.shape
    row = st.lists(st.integers(0, 3), min_size=count, max_size=count)  # scores with ties
    scores = torch.tensor([draw(row) for _ in range(batch)], dtype=torch.float32)
    return votes, scores, draw(st.integers(1, count))


APPROVE = st.sampled_from(["above-mean", 0.5, 0.25, 1, 2, 3])


@pytest.mark.parametrize("rule", RULES)
@given(election=elections(), approve=APPROVE)
@settings(max_examples=50, deadline=None)
def test_any_small_election_comes_out_as_in_the_textbook(rule, election, approve):
    votes, scores, seats = election
    kept = selector(f"{rule}:approve={approve}")(scores, seats, votes=[votes])
    assert torch.equal(kept, expected(rule, votes, scores, seats, approve))


@given(election=elections(), approve=APPROVE)
@settings(max_examples=50, deadline=None)
def test_equal_shares_completed_by_scores_comes_out_as_in_the_textbook(election, approve):
    votes, scores, seats = election
    kept = selector(f"equal-shares:approve={approve},completion=scores")(scores, seats, votes=[votes])
    assert torch.equal(kept, expected("equal-shares", votes, scores, seats, approve, completion="scores"))


@st.composite
def crowds(draw):
    """More voters than a hypothesis list likes to have, drawn from few kinds of ballots."""
    tokens = draw(st.integers(3, 7))
    ballot = st.lists(st.integers(0, 2), min_size=tokens, max_size=tokens)
    kinds = draw(st.lists(ballot, min_size=3, max_size=8))
    sizes = draw(st.lists(st.integers(1, 9), min_size=len(kinds), max_size=len(kinds)))
    rows = [kind for kind, size in zip(kinds, sizes, strict=True) for _ in range(size)]
    return torch.tensor([rows], dtype=torch.float32), draw(st.integers(1, tokens))


@pytest.mark.parametrize("rule", RULES)
@given(crowd=crowds())
@settings(max_examples=30, deadline=None)
def test_crowds_come_out_as_in_the_textbook(rule, crowd):
    values, seats = crowd
    votes = Votes(values)
    assert torch.equal(keep(rule, values, seats), expected(rule, votes, votes.total(), seats))


@pytest.mark.parametrize("spec", [*RULES, "equal-shares:completion=scores"])
def test_middling_elections_come_out_as_in_the_textbook(spec):
    # Large enough that purses differ, are emptied in other orders than people stand in, and loads pile up twice.
    rule, _, option = spec.partition(":")
    options = {"completion": "scores"} if option else {}
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        values = torch.randint(0, 4, (1, 13, 8), generator=generator).float() ** 3
        weights = torch.randint(1, 6, (1, 13), generator=generator).float()
        votes, scores = Votes(values, weights), torch.randperm(8, generator=generator)[None].float()
        seats = 2 + seed % 6
        kept = selector(spec)(scores, seats, votes=[votes])
        assert torch.equal(kept, expected(rule, votes, scores, seats, **options))
