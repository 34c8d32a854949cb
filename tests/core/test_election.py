"""One election, and what is said of components that return nonsense."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from tokprune import InvalidValueError, Policy, Signal, aggregators, selectors
from tokprune.election import hold_election

SIGNAL = Signal(tokens=torch.tensor([[[1.0], [3.0], [2.0]], [[9.0], [0.0], [1.0]]]))


@dataclass(frozen=True)
class Returning:
    """A selector or aggregator that returns what it is told."""

    what: object
    uniform: ClassVar[bool] = False

    def __call__(self, *args, **kwargs):
        return self.what


@dataclass(frozen=True)
class Asking(selectors.TopK):
    """A selector that wants to see the votes and a signal."""

    wants: ClassVar[tuple[str, ...]] = ("votes", "tokens")

    def __call__(self, scores, keep, *, votes, tokens):
        assert isinstance(votes, list)
        assert torch.equal(votes[0].values[:, 0], scores)
        return tokens[..., 0] == 0


def test_an_election_keeps_the_best_and_tells_the_scores():
    kept, scores = hold_election(Policy("l2-norm", keep=1), SIGNAL)
    assert kept.tolist() == [[False, True, False], [True, False, False]]
    assert scores.tolist() == [[1.0, 3.0, 2.0], [9.0, 0.0, 1.0]]


def test_a_selector_gets_what_it_wants():
    signal = Signal(tokens=torch.tensor([[[0.0], [3.0]]]))
    kept, _ = hold_election(Policy("l2-norm", keep=1, selector=Asking()), signal)
    assert kept.tolist() == [[True, False]]


def test_an_election_needs_no_gradient():
    signal = Signal(tokens=torch.rand(1, 3, 2, requires_grad=True))
    assert not hold_election(Policy("l2-norm"), signal)[1].requires_grad


@pytest.mark.parametrize("what", [None, torch.zeros(2, 4), torch.zeros(3), torch.zeros(2, 3, dtype=torch.long)])
def test_scores_that_are_none_name_the_aggregator_and_what_was_expected(what):
    policy = Policy("l2-norm", aggregator=Returning(what))
    with pytest.raises(InvalidValueError, match=r"(?s)aggregator Returning.* must return a float tensor .*\(2, 3\)"):
        hold_election(policy, SIGNAL)


@pytest.mark.parametrize("what", [None, torch.zeros(2, 3), torch.zeros(2, 4) > 1, torch.tensor([[0, 1]])])
def test_a_choice_that_is_none_names_the_selector_and_what_was_expected(what):
    with pytest.raises(InvalidValueError, match=r"(?s)selector Returning.* must return a bool tensor .*\(2, 3\)"):
        hold_election(Policy("l2-norm", selector=Returning(what)), SIGNAL)


def test_an_image_of_which_nothing_stays_is_an_error():
    selector = Returning(torch.tensor([[True, False, False], [False] * 3]))
    with pytest.raises(InvalidValueError, match="kept no token at all of some image"):
        hold_election(Policy("l2-norm", selector=selector), SIGNAL)


def test_any_rule_can_follow_any_scorer():
    for rule in (aggregators.Borda(), aggregators.Copeland(), aggregators.Plurality()):
        kept, _ = hold_election(Policy("l2-norm", keep=1, aggregator=rule), SIGNAL)
        assert kept.tolist() == [[False, True, False], [True, False, False]]
