"""A failed check reads like a sentence: component, law, example, remedy."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pytest
import torch

from tokprune import UnknownNameError, Votes, scorers
from tokprune.functional import top_k
from tokprune.testing import check_component, check_reduction, check_scorer, check_selector
from tokprune.testing.failures import close, same, shown

from . import faulty


def message_of(check, component):
    with pytest.raises(AssertionError) as caught:
        check(component)
    return str(caught.value)


def test_the_smallest_example_is_shown_with_its_numbers():
    message = message_of(check_scorer, faulty.BatchWide())
    assert message.splitlines()[0] == (
        "scorer BatchWide() breaks a law: The scores of an image do not depend on the other images of the batch."
    )
    assert "2 image(s) of 1 target token(s) and 2 other token(s)" in message
    assert "among the others and" in message


def test_an_undeclared_signal_is_named_with_those_that_were_offered():
    message = message_of(check_scorer, faulty.Undeclared())
    assert "signal 'text' was not observed" in message
    assert "offers 'tokens'" in message


def test_an_error_inside_a_component_is_passed_on_as_the_cause():
    with pytest.raises(AssertionError, match=r"It raised TypeError: .*needs_another") as caught:
        check_selector(Surprising())
    assert isinstance(caught.value.__cause__, TypeError)


@dataclass(frozen=True)
class ByPlace:
    """Scores places, and does not say so."""

    needs: ClassVar = ("tokens",)

    def __call__(self, signal):
        places = torch.arange(signal.shape[1], device=signal.tokens.device)
        yield Votes(places.float().expand(signal.shape)[:, None])


@dataclass(frozen=True)
class FirstOnes:
    """Keeps the first tokens, and says so."""

    uniform: ClassVar = True
    by_position: ClassVar = True

    def __call__(self, scores, keep):
        return top_k(torch.zeros_like(scores), keep)


@dataclass(frozen=True)
class Fading(faulty.Folding):
    """Forgets half of what it changes, and says so."""

    conserves: ClassVar = False

    def __call__(self, tokens, kept, sizes=None):
        merged, after = super().__call__(tokens, kept, sizes)
        return torch.where(kept.all(dim=1)[:, None, None], tokens, merged / 2), after


@dataclass(frozen=True)
class SaysLittle:
    """A scorer without an aggregator of its own."""

    needs: ClassVar = ("tokens",)

    def __call__(self, signal):
        yield Votes(signal.tokens.float().norm(dim=-1)[:, None])


class Surprising(faulty.Choosing):
    """Wants an argument that nobody gives."""

    def __call__(self, scores, keep, needs_another):
        return scores > 0


def test_a_class_in_place_of_an_object_is_said_so():
    assert "L2Norm is a class; give an object: L2Norm(...)" in message_of(check_scorer, scorers.L2Norm)


def test_a_scorer_by_place_is_told_about_the_option():
    assert "by_position=True" in message_of(check_scorer, ByPlace())
    check_scorer(ByPlace(), by_position=True)


def test_a_component_can_say_itself_that_it_looks_at_places():
    check_scorer(scorers.First())
    assert "by_position=True" in message_of(partial(check_scorer, by_position=False), scorers.First())
    check_selector(FirstOnes())
    assert "the choice goes with them" in message_of(partial(check_selector, by_position=False), FirstOnes())
    check_reduction(Fading())
    assert "the sum of the tokens" in message_of(partial(check_reduction, conserves=True), Fading())


def test_a_scorer_may_leave_its_aggregator_open():
    check_scorer(SaysLittle())


def test_a_kind_without_a_check_lists_the_kinds():
    with pytest.raises(UnknownNameError, match="the kinds are scorer, aggregator, selector, reduction"):
        check_component("policy", object())


def test_too_few_layers_in_the_made_up_models_can_be_raised():
    with pytest.raises(AssertionError, match="there are 4 layers"):
        check_scorer(scorers.CatpVote([11]))
    check_scorer(scorers.CatpVote([11]), layers=12)


def test_a_scorer_for_image_tokens_can_be_checked_on_them():
    check_scorer(scorers.SelfAttention(), target="image")
    check_scorer(scorers.CatpVote(), target="image")


def test_long_tensors_are_cut_short_and_short_ones_are_not():
    assert shown(torch.tensor([1.0, 2.5])) == "[1.0, 2.5]"
    assert len(shown(torch.rand(100, 100))) < 200
    assert "shape (100, 100)" in shown(torch.rand(100, 100))


def test_same_and_close_look_at_shape_too():
    assert same(torch.ones(2), torch.ones(2))
    assert not same(torch.ones(2), torch.ones(1, 2))
    assert not close(torch.ones(2), torch.ones(1), 1.0)
    assert close(torch.tensor([1.0, 1e-9]), torch.tensor([1.0, 0.0]), 1e-6)
    assert not close(torch.tensor([1.0, 0.1]), torch.tensor([1.0, 0.0]), 1e-6)
