"""Borda count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from tokprune.aggregators.layerwise import sum_layers
from tokprune.functional import borda_scores
from tokprune.votes import Votes


@dataclass(frozen=True)
class Borda:
    """Every voter ranks the tokens and gives 0 .. T-1 points, ties sharing; points are summed over voters and layers.

    See `tokprune.functional.borda_scores`.
    """

    def __call__(self, votes: Iterable[Votes]) -> Tensor:
        """Points `[batch token]`, float32."""
        return sum_layers("borda", votes, lambda layer: borda_scores(layer.values, layer.weights))
