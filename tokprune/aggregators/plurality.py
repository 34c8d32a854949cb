"""First places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from tokprune.aggregators.layerwise import sum_layers
from tokprune.functional import plurality_scores
from tokprune.votes import Votes


@dataclass(frozen=True)
class Plurality:
    """Every voter gives one point to the token it likes best (tied favourites share it).

    See `tokprune.functional.plurality_scores`.
    """

    def __call__(self, votes: Iterable[Votes]) -> Tensor:
        """Points `[batch token]`, float32."""
        return sum_layers("plurality", votes, lambda layer: plurality_scores(layer.values, layer.weights))
