"""Sum of the votes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from tokprune.aggregators.layerwise import sum_layers
from tokprune.functional import exact_sum
from tokprune.votes import Votes


@dataclass(frozen=True)
class Total:
    """Weighted sum of the votes over voters and layers. See `tokprune.functional.exact_sum`."""

    def __call__(self, votes: Iterable[Votes]) -> Tensor:
        """Scores `[batch token]`, float32."""
        return sum_layers("sum", votes, lambda layer: exact_sum(layer.values, layer.weights))
