"""One election, and what is said of components that return nonsense."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from tokprune import Choice, Groups, InvalidValueError, Policy, Signal, Votes, aggregators, reductions, selectors
from tokprune.adapters.reducing import reduce_tokens

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
    choice = Policy("l2-norm", keep=1).choose(SIGNAL)
    assert choice.kept.tolist() == [[False, True, False], [True, False, False]]
    assert choice.scores.tolist() == [[1.0, 3.0, 2.0], [9.0, 0.0, 1.0]]


def test_a_selector_gets_what_it_wants():
    signal = Signal(tokens=torch.tensor([[[0.0], [3.0]]]))
    kept = Policy("l2-norm", keep=1, selector=Asking()).choose(signal).kept
    assert kept.tolist() == [[True, False]]


def test_an_election_needs_no_gradient():
    signal = Signal(tokens=torch.rand(1, 3, 2, requires_grad=True))
    assert not Policy("l2-norm").choose(signal).scores.requires_grad


@pytest.mark.parametrize("what", [None, torch.zeros(2, 4), torch.zeros(3), torch.zeros(2, 3, dtype=torch.long)])
def test_scores_that_are_none_name_the_aggregator_and_what_was_expected(what):
    policy = Policy("l2-norm", aggregator=Returning(what))
    with pytest.raises(InvalidValueError, match=r"(?s)aggregator Returning.* must return a float tensor .*\(2, 3\)"):
        policy.choose(SIGNAL)


@pytest.mark.parametrize("what", [None, torch.zeros(2, 3), torch.zeros(2, 4) > 1, torch.tensor([[0, 1]])])
def test_a_choice_that_is_none_names_the_selector_and_what_was_expected(what):
    with pytest.raises(InvalidValueError, match=r"(?s)selector Returning.* must return a bool tensor .*\(2, 3\)"):
        Policy("l2-norm", selector=Returning(what)).choose(SIGNAL)


def test_an_image_of_which_nothing_stays_is_an_error():
    selector = Returning(torch.tensor([[True, False, False], [False] * 3]))
    with pytest.raises(InvalidValueError, match="kept no token at all of some image"):
        Policy("l2-norm", selector=selector).choose(SIGNAL)


@dataclass(frozen=True)
class Giving:
    """A scorer that gives what it is told."""

    what: object
    needs: ClassVar[tuple[str, ...]] = ("tokens",)

    def __call__(self, signal):
        return self.what


def test_a_scorer_may_give_scores():
    scores = torch.tensor([[0.0, 5.0, 1.0], [2.0, 0.0, 1.0]])
    for given in (scores, scores.double(), scores.bfloat16()):
        choice = Policy(Giving(given), keep=1).choose(SIGNAL)
        assert choice.kept.tolist() == [[False, True, False], [True, False, False]]
        assert choice.scores.equal(scores if given.dtype != torch.float64 else given)


@dataclass(frozen=True)
class GivingScores(Giving):
    """A scorer that says that it gives scores."""

    aggregator: ClassVar[None] = None


def test_a_scorer_that_says_so_has_no_aggregator():
    policy = Policy(GivingScores(torch.eye(3)[:2]), keep=1)
    assert policy.aggregator is None
    assert policy.choose(SIGNAL).kept.tolist() == [[True, False, False], [False, True, False]]
    assert "aggregator" not in repr(policy)


def test_scores_are_not_added_up_nor_read_as_votes():
    scores = torch.rand(2, 3)
    with pytest.raises(InvalidValueError, match=r"(?s)has nothing to add up: .*omit the aggregator"):
        Policy(GivingScores(scores), aggregator="borda")
    with pytest.raises(InvalidValueError, match=r"(?s)wants 'votes', and scorer GivingScores.* gives scores"):
        Policy(GivingScores(scores), selector=Asking())
    with pytest.raises(InvalidValueError, match=r"(?s)has nothing to add up: .*omit the aggregator"):
        Policy(Giving(scores), aggregator="borda").choose(SIGNAL)
    with pytest.raises(InvalidValueError, match=r"(?s)wants 'votes', and scorer Giving.* gives scores"):
        Policy(Giving(scores), selector=Asking()).choose(SIGNAL)


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (Giving(torch.zeros(2, 4)), r"scorer Giving.* must return a float tensor \[batch token\] = \(2, 3\)"),
        (Giving(torch.zeros(2, 3).long()), r"scorer Giving.* must return a float tensor .*got torch.int64 \(2, 3\)"),
        (Giving(torch.tensor([[0.0, torch.nan, 1.0]] * 2)), r"its scores \(2, 3\) have 2 NaN, which rank nowhere"),
        (GivingScores([Votes(torch.zeros(2, 1, 3))]), r"declares aggregator = None, so it must give scores .*got list"),
    ],
)
def test_scores_that_cannot_be_used_name_the_scorer(scorer, message):
    with pytest.raises(InvalidValueError, match=rf"(?s){message}"):
        Policy(scorer).choose(SIGNAL)


FIRST_TWO = torch.tensor([[True, True, False], [True, True, False]])


@dataclass(frozen=True)
class Grouping(Returning):
    """A selector that gives groups."""

    makes_groups: ClassVar[bool] = True


def test_a_selector_may_give_groups():
    assignment = torch.tensor([[0, 1, 0], [0, 1, -1]])
    choice = Policy("l2-norm", selector=Grouping(Groups(FIRST_TWO, assignment))).choose(SIGNAL)
    assert choice.kept.equal(FIRST_TWO)
    assert choice.assignment.equal(assignment)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            [[0, 0, 1], [0, 1, 1]],
            r"a group of its own, .*: expected \[0, 1, 0, 1\] .*got \[0, 0, 0, 1\]",
        ),
        ([[1, 0, 1], [0, 1, 1]], r"each kept token into a group of its own"),
        ([[0, 1, 2], [0, 1, 1]], r"number groups from 0 to k-1, .*\(\[2, 2\]\); got numbers from 0 to 2"),
        ([[0, 1, -2], [0, 1, 1]], r"number groups from 0 to k-1, .*got numbers from -2 to 1"),
        ([[0, 1], [0, 1]], r"in Groups.assignment, must return a int tensor .*got torch.int64 \(2, 2\)"),
        ([[0.0, 1.0, 1.0], [0, 1, 1]], r"in Groups.assignment, must return a int tensor .*got torch.float32"),
    ],
)
def test_groups_that_are_no_partition_name_the_selector(assignment, message):
    groups = Groups(FIRST_TWO, torch.tensor(assignment))
    with pytest.raises(InvalidValueError, match=rf"(?s)selector Grouping.*{message}"):
        Policy("l2-norm", selector=Grouping(groups)).choose(SIGNAL)


GROUPED = Choice(FIRST_TWO, torch.tensor([[0, 1, 1], [0, 1, -1]]), torch.zeros(2, 3))


def test_merging_follows_the_groups_of_the_selector():
    tokens, sizes = reduce_tokens(reductions.Merge(), SIGNAL.tokens, GROUPED, SIGNAL)
    assert sizes.tolist() == [[1, 2, 0], [1, 1, 0]]
    assert tokens[0, :2, 0].tolist() == [1.0, 2.5]
    assert tokens[1, :2, 0].tolist() == [9.0, 0.0]


def test_a_reduction_that_does_not_read_tokens_has_the_sizes_of_the_groups():
    tokens, sizes = reduce_tokens(reductions.Prune(), SIGNAL.tokens, GROUPED, SIGNAL, torch.tensor([[1.0, 2, 3]] * 2))
    assert tokens is SIGNAL.tokens
    assert sizes.tolist() == [[1, 5, 0], [1, 2, 0]]


def test_a_reduction_that_does_not_follow_groups_is_not_given_them():
    def plain(tokens, kept, sizes=None):
        return tokens, kept.float()

    plain.reads_tokens = True
    assert reduce_tokens(plain, SIGNAL.tokens, GROUPED, SIGNAL)[1].equal(FIRST_TWO.float())


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (None, "must give tokprune.Votes layer by layer .*got NoneType"),
        ("votes", "must give tokprune.Votes layer by layer .*got str"),
        (Votes(torch.zeros(2, 1, 3)), "must give tokprune.Votes layer by layer .*got Votes"),
        (torch.zeros(2, 1, 3), r"must give tokprune.Votes layer by layer .*or scores .*got torch.float32 \(2, 1, 3\)"),
        ([torch.zeros(2, 1, 3)], r"must give tokprune.Votes, got torch.float32 \(2, 1, 3\)"),
        ([Votes(torch.zeros(2, 1, 4))], r"for 2 images of 3 tokens, got \(2, 1, 4\)"),
        ([Votes(torch.zeros(1, 1, 3))], r"for 2 images of 3 tokens, got \(1, 1, 3\)"),
        ([Votes(torch.tensor([[[0.0, torch.nan, 1.0]]] * 2))], r"its votes \(2, 1, 3\) have 2 NaN, which rank nowhere"),
    ],
    ids=range(8),
)
@pytest.mark.parametrize("rule", ["sum", "borda"])
def test_what_is_not_votes_names_the_scorer_and_what_was_expected(what, message, rule):
    with pytest.raises(InvalidValueError, match=rf"(?s)scorer Giving\(.*{message}"):
        Policy(Giving(what), aggregator=rule).choose(SIGNAL)


def test_scores_with_nan_name_the_aggregator():
    with pytest.raises(InvalidValueError, match=r"(?s)aggregator Returning.* of the votes of L2Norm.* have 6 NaN"):
        Policy("l2-norm", aggregator=Returning(torch.full((2, 3), torch.nan))).choose(SIGNAL)


class Failing:
    """A component of any kind that raises."""

    needs: ClassVar[tuple[str, ...]] = ("tokens",)
    removes = reads_tokens = True

    def __call__(self, *args, **kwargs):
        raise KeyError("mine")

    def __repr__(self):
        return "Failing()"


class Late(Failing):
    """A scorer that raises after its first layer, while an aggregator reads."""

    def __call__(self, signal):
        yield Votes(signal.tokens.transpose(1, 2))
        raise KeyError("mine")


@pytest.mark.parametrize(
    ("kind", "component"),
    [("scorer", Failing()), ("scorer", Late()), ("aggregator", Failing()), ("selector", Failing())],
)
def test_the_error_of_a_component_is_noted_with_its_name_and_shapes(kind, component):
    signal = Signal(tokens=torch.zeros(2, 3, 5), source="adapter 'mine' target 'query'")
    with pytest.raises(KeyError) as caught:
        Policy(**{"scorer": "l2-norm", kind: component}).choose(signal)
    (note,) = caught.value.__notes__
    assert note.startswith(f"tokprune: raised by {kind} Failing(), for adapter 'mine' target 'query'; given ")
    assert "[image token] = (2, 3), tokens (2, 3, 5)" in note


@dataclass(frozen=True)
class Reducing:
    """A reduction that returns what it is told."""

    what: object
    removes: ClassVar[bool] = True
    reads_tokens: ClassVar[bool] = True

    def __call__(self, tokens, kept, sizes=None):
        return self.what


@pytest.mark.parametrize(
    ("what", "got"),
    [
        (None, "NoneType"),
        (torch.zeros(2, 3, 1), r"\(2, 3, 1\)"),
        ((torch.zeros(2, 2, 1), None), r"\(2, 2, 1\), NoneType"),
        ((torch.zeros(2, 3, 1), torch.ones(2, 2)), r"\(2, 3, 1\), \(2, 2\)"),
        ((torch.zeros(2, 3, 1).long(), None), r"\(2, 3, 1\), NoneType"),
        ("ab", "str"),
    ],
    ids=range(6),
)
def test_a_reduction_that_returns_something_else_is_named(what, got):
    with pytest.raises(
        InvalidValueError, match=rf"(?s)reduction Reducing.*\(2, 3, 1\) and sizes.*\(2, 3\).*got \({got}\)"
    ):
        reduce_tokens(Reducing(what), SIGNAL.tokens, Choice.all_of(SIGNAL), SIGNAL)


def test_the_error_of_a_reduction_is_noted():
    with pytest.raises(KeyError) as caught:
        reduce_tokens(Failing(), SIGNAL.tokens, Choice.all_of(SIGNAL), SIGNAL)
    assert "raised by reduction Failing()" in caught.value.__notes__[0]


def test_any_rule_can_follow_any_scorer():
    for rule in (aggregators.Borda(), aggregators.Copeland(), aggregators.Plurality()):
        kept = Policy("l2-norm", keep=1, aggregator=rule).choose(SIGNAL).kept
        assert kept.tolist() == [[False, True, False], [True, False, False]]
