"""`check_aggregator`: the laws of aggregators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokprune.interfaces import Aggregator
from tokprune.testing import components
from tokprune.testing.electorates import Electorate, changed, described, electorates, large_electorate
from tokprune.testing.elsewhere import Move, try_elsewhere
from tokprune.testing.failures import Violation, close, same, shown
from tokprune.testing.laws import Law, check_all
from tokprune.votes import Votes


def check_aggregator(aggregator: Aggregator) -> None:
    """Check that an aggregator is a fair and numerically sound voting rule.

    Args:
        aggregator: the object, with its options.

    Raises:
        AssertionError: the first law that is broken, in words, with the smallest example found.

    Example:
        >>> from tokprune.aggregators import Borda
        >>> check_aggregator(Borda())
    """
    check_all(laws(aggregator))


def laws(aggregator: Aggregator) -> list[Law]:
    """The laws of aggregators, for this one."""
    return [Law("aggregator", aggregator, law) for law in LAWS]


def scores_of(aggregator: Aggregator, electorate: Electorate) -> Tensor:
    """Scores of an electorate whose layers come one at a time and cannot be read twice."""
    with torch.no_grad():
        return aggregator(layer for layer in electorate)


def gives_one_score_per_token(aggregator: Any) -> None:
    """Scores are one finite float32 or float64 number per token, also when the votes are half precision."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for electorate in (*electorates(), *((large_electorate(),) if dtype == torch.float32 else ())):
            cast = tuple(Votes(v.values.to(dtype), v.weights, layer=v.layer, heads=v.heads) for v in electorate)
            scores = scores_of(aggregator, cast)
            batch, _, tokens = cast[0].shape
            if not isinstance(scores, Tensor) or tuple(scores.shape) != (batch, tokens):
                found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
                raise Violation(f"With {described(cast)} it gave {found}, expected [batch token] = {(batch, tokens)}.")
            if scores.dtype not in (torch.float32, torch.float64) or not bool(scores.isfinite().all()):
                raise Violation(f"With {described(cast)} it gave {scores.dtype}: {shown(scores)}.")


def refuses_an_empty_electorate(aggregator: Any) -> None:
    """An aggregator that gets no votes at all raises a ValueError."""
    try:
        scores = scores_of(aggregator, ())
    except ValueError:
        return
    raise Violation(f"It gave {shown(scores)}; raise tokprune.InvalidValueError.")


def same_scores_twice(aggregator: Any) -> None:
    """An aggregator keeps no state: the same votes give the same scores, whatever came between."""
    cases = list(electorates())
    for electorate, other in zip(cases, reversed(cases), strict=True):
        before = scores_of(aggregator, electorate)
        again = scores_of(aggregator, electorate)
        scores_of(aggregator, changed(electorate, tokens=torch.arange(electorate[0].shape[2]).flip(0)))
        scores_of(aggregator, other)
        after = scores_of(aggregator, electorate)
        if not (same(before, again) and same(before, after)):
            raise Violation(
                f"With {described(electorate)} the scores are {shown(before)}, the second time {shown(again)} and, "
                f"after other calls, {shown(after)}."
            )


def leaves_the_votes_alone(aggregator: Any) -> None:
    """An aggregator does not write into the votes that it is given."""
    for electorate in electorates():
        before = [layer.values.clone() for layer in electorate]
        scores_of(aggregator, electorate)
        if not all(same(layer.values, values) for layer, values in zip(electorate, before, strict=True)):
            raise Violation(f"With {described(electorate)} the votes have other numbers afterwards.")


def images_do_not_matter_to_each_other(aggregator: Any) -> None:
    """The scores of an image do not depend on the other images of the batch."""
    for electorate in electorates():
        together = scores_of(aggregator, electorate)
        for row in range(together.shape[0]):
            alone = scores_of(aggregator, changed(electorate, rows=[row]))
            if not same(together[row : row + 1], alone):
                raise Violation(
                    f"With {described(electorate)}, image {row} scores {shown(together[row])} among the others and "
                    f"{shown(alone[0])} alone. Its votes: {shown(electorate[0].values[row])}"
                )


def treats_tokens_alike(aggregator: Any) -> None:
    """Neutrality: when tokens change places, their scores go with them; equal votes give equal scores."""
    for electorate in electorates():
        order = torch.arange(electorate[0].shape[2]).flip(0)
        scores = scores_of(aggregator, electorate)
        moved = scores_of(aggregator, changed(electorate, tokens=order))
        if not close(moved, scores[:, order], 1e-6):
            raise Violation(
                f"With {described(electorate)} the scores are {shown(scores)}; with the tokens in the order "
                f"{order.tolist()} they are {shown(moved)}, expected {shown(scores[:, order])}. "
                f"Votes: {shown(electorate[0].values)}"
            )


def treats_voters_alike(aggregator: Any) -> None:
    """Anonymity: when voters change places, nothing changes."""
    for electorate in electorates():
        order = torch.arange(electorate[0].shape[1]).flip(0)
        scores = scores_of(aggregator, electorate)
        moved = scores_of(aggregator, changed(electorate, voters=order))
        if not close(moved, scores, 1e-6):
            raise Violation(
                f"With {described(electorate)} the scores are {shown(scores)}; with the voters in the order "
                f"{order.tolist()} they are {shown(moved)}. Votes: {shown(electorate[0].values)}"
            )


def listens_to_the_voters(aggregator: Any) -> None:
    """A token that every voter likes best scores above one that every voter likes least."""
    for voters in (1, 2, 3):
        # Voters use scales of their own, so that comparing them with each other says something else than the ballots.
        ballots = torch.tensor([[3.0, 1.0, 2.0]]) + 10 * torch.arange(voters)[:, None]
        scores = scores_of(aggregator, (Votes(ballots[None]),))
        if not bool(scores[0, 0] > scores[0, 1]):
            raise Violation(f"With the votes {shown(ballots)} the scores are {shown(scores[0])}.")


def equal_weights_change_nothing(aggregator: Any) -> None:
    """Voters who all weigh 1 count as voters without weights."""
    for electorate in electorates():
        plain = tuple(layer.with_weights(None) for layer in electorate)
        ones = tuple(layer.with_weights(torch.ones(layer.shape[:2])) for layer in electorate)
        without, with_ones = scores_of(aggregator, plain), scores_of(aggregator, ones)
        if not close(with_ones, without, 1e-6):
            raise Violation(
                f"With {described(plain)} the scores are {shown(without)}; with weights of 1 {shown(with_ones)}."
            )


def counts_in_float32(aggregator: Any) -> None:
    """Half-precision votes count like their float32 copies: nothing is added up in half precision."""
    for dtype in (torch.bfloat16, torch.float16):
        for electorate in (*electorates(), large_electorate()):
            half = tuple(Votes(v.values.to(dtype), v.weights, layer=v.layer, heads=v.heads) for v in electorate)
            wide = tuple(Votes(v.values.float(), v.weights, layer=v.layer, heads=v.heads) for v in half)
            found, expected = scores_of(aggregator, half), scores_of(aggregator, wide)
            if not close(found, expected, 1e-6):
                raise Violation(
                    f"With {described(half)} the scores are {shown(found)}, with the same votes in float32 "
                    f"{shown(expected)}; begin with `.float()`."
                )


def stays_on_the_device(aggregator: Any) -> None:
    """An aggregator makes its scores on the device that the votes are on."""
    for electorate in list(electorates())[-2:]:

        def scores(move: Move, electorate: Electorate = electorate) -> list[Tensor]:
            weights = [None if v.weights is None else move(v.weights) for v in electorate]
            moved = zip(electorate, weights, strict=True)
            return [scores_of(aggregator, tuple(Votes(move(v.values), w, layer=v.layer) for v, w in moved))]

        try_elsewhere(scores)


LAWS = (
    *components.LAWS,
    gives_one_score_per_token,
    refuses_an_empty_electorate,
    leaves_the_votes_alone,
    same_scores_twice,
    images_do_not_matter_to_each_other,
    treats_tokens_alike,
    treats_voters_alike,
    listens_to_the_voters,
    equal_weights_change_nothing,
    counts_in_float32,
    stays_on_the_device,
)
"""The laws of aggregators, in the order they are checked."""
