"""Pairwise majorities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from tokprune.aggregators.layerwise import sum_layers
from tokprune.functional import copeland_scores, pairwise_margins
from tokprune.votes import Votes


@dataclass(frozen=True)
class Copeland:
    """How many other tokens a token beats when all voters of all layers compare them pair by pair.

    See `tokprune.functional.copeland_scores`. The margins of the layers are added before majorities are counted, so
    all layers vote as one electorate.
    """

    def __call__(self, votes: Iterable[Votes]) -> Tensor:
        """Scores `[batch token]`, float32, in 0 .. T-1."""
        margins = sum_layers("copeland", votes, lambda layer: pairwise_margins(layer.values, layer.weights))
        return copeland_scores(margins)
