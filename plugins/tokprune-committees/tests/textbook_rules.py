"""The three rules as the books tell them: plain Python, one voter at a time, in fractions. Slow and exact.

A ballot is a set of tokens. `weights` are fractions; a voter of weight 3 is three voters who always say the same.
`scores` break ties, then the lower index.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

Ballot = frozenset[int]


def approves(votes: Sequence[float], approve: str | float | int) -> Ballot:
    said = [Fraction(vote) for vote in votes]
    if approve == "above-mean":
        return frozenset(t for t, vote in enumerate(said) if vote > sum(said) / len(said))
    number = approve if isinstance(approve, int) else math.ceil(Fraction(approve) * len(said) - Fraction(1, 10**9))
    edge = sorted(said, reverse=True)[min(max(number, 1), len(said)) - 1]
    return frozenset(t for t, vote in enumerate(said) if vote >= edge)


def first(candidates: Iterable[int], better: Callable[[int], Fraction], scores: Sequence[float]) -> int:
    """The candidate that is best, then best by score, then first."""
    return min(candidates, key=lambda t: (-better(t), -scores[t], t))


def pav(ballots: Sequence[Ballot], weights: Sequence[Fraction], scores: Sequence[float], seats: int) -> set[int]:
    kept: set[int] = set()
    for _ in range(seats):

        def gain(t: int) -> Fraction:
            return sum((w / (1 + len(a & kept)) for a, w in zip(ballots, weights, strict=True) if t in a), Fraction(0))

        kept.add(first(set(range(len(scores))) - kept, gain, scores))
    return kept


def phragmen(
    ballots: Sequence[Ballot],
    weights: Sequence[Fraction],
    scores: Sequence[float],
    seats: int,
    kept: set[int] = frozenset(),  # type: ignore[assignment]
    loads: Sequence[Fraction] | None = None,
) -> set[int]:
    kept = set(kept)
    loads = list(loads or [Fraction(0)] * len(ballots))
    while len(kept) < seats:
        prices: dict[int, Fraction] = {}
        for t in set(range(len(scores))) - kept:
            who = [v for v, a in enumerate(ballots) if t in a and weights[v] > 0]
            if who:
                carried = 1 + sum(weights[v] * loads[v] for v in who)
                prices[t] = Fraction(carried) / sum(weights[v] for v in who)
        if not prices:
            kept.add(first(set(range(len(scores))) - kept, lambda t: Fraction(0), scores))
            continue
        elected = first(prices, lambda t: -prices[t], scores)  # noqa: B023
        kept.add(elected)
        loads = [prices[elected] if elected in a else x for a, x in zip(ballots, loads, strict=True)]
    return kept


def equal_shares(
    ballots: Sequence[Ballot],
    weights: Sequence[Fraction],
    scores: Sequence[float],
    seats: int,
    completion: str = "phragmen",
) -> set[int]:
    """With money: every copy of a voter starts with the same; those who approve nobody get none."""
    total = sum((w for a, w in zip(ballots, weights, strict=True) if a), Fraction(0))
    money = [Fraction(seats) / total if total else Fraction(0)] * len(ballots)
    start = list(money)
    kept: set[int] = set()
    while len(kept) < seats:
        prices = {}
        for t in set(range(len(scores))) - kept:
            price = lowest_price([(money[v], weights[v]) for v, a in enumerate(ballots) if t in a and weights[v] > 0])
            if price is not None:
                prices[t] = price
        if not prices:
            break
        elected = first(prices, lambda t: -prices[t], scores)  # noqa: B023
        kept.add(elected)
        price = prices[elected]
        money = [max(Fraction(0), m - price) if elected in a else m for a, m in zip(ballots, money, strict=True)]
    if completion == "scores":
        rest = sorted(set(range(len(scores))) - kept, key=lambda t: (-scores[t], t))
        return kept | set(rest[: seats - len(kept)])
    # The book starts the loads at minus the money that is left; a constant for all on top changes nothing.
    return phragmen(ballots, weights, scores, seats, kept, [-m for m in money] if any(start) else None)


def lowest_price(purses: Sequence[tuple[Fraction, Fraction]]) -> Fraction | None:
    """The rho at which people with (money, weight) pay 1 together; None if all they have is not enough."""
    if sum(m * w for m, w in purses) < 1:
        return None
    due, payers = Fraction(1), sum(w for _, w in purses)
    for money, weight in sorted(purses):
        if money * payers >= due:
            return due / payers
        due -= money * weight
        payers -= weight
    raise ArithmeticError("they had enough")
