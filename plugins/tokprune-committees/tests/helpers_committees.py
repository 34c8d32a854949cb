"""What the tests share: the selectors, by name through the entry point, and their textbook twins."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import textbook_rules as textbook
import torch
from torch import Tensor

import tokprune
from tokprune import Votes

RULES = ("phragmen", "pav", "equal-shares")
TEXTBOOK = {"phragmen": textbook.phragmen, "pav": textbook.pav, "equal-shares": textbook.equal_shares}


def selector(spec: str) -> object:
    return tokprune.Policy(selector=spec).selector


def keep(spec: str, values: Tensor, seats: float, *, weights: Tensor | None = None, scores: Tensor | None = None):
    """Kept tokens of one layer's votes `[batch voter token]`; scores are their sums unless given."""
    votes = Votes(values, weights)
    return selector(spec)(votes.total() if scores is None else scores, seats, votes=[votes])


def from_sets(ballots: Sequence[str], tokens: str) -> Tensor:
    """Votes 1 and 0 of one image from sets of letters."""
    return torch.tensor([[[float(token in ballot) for token in tokens] for ballot in ballots]])


def letters(kept: Tensor, tokens: str) -> str:
    return "".join(token for token, stays in zip(tokens, kept[0].tolist(), strict=True) if stays)


def expected(rule: str, votes: Votes, scores: Tensor, seats: int, approve: object = "above-mean", **options) -> Tensor:
    """What the textbook keeps, image by image."""
    kept = torch.zeros(scores.shape, dtype=torch.bool)
    for image, ballots in enumerate(votes.values.tolist()):
        sets = [textbook.approves(ballot, approve) for ballot in ballots]
        weights = [Fraction(1)] * len(sets) if votes.weights is None else map(Fraction, votes.weights[image].tolist())
        chosen = TEXTBOOK[rule](sets, list(weights), scores[image].tolist(), seats, **options)
        kept[image, list(chosen)] = True
    return kept
