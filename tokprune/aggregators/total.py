"""Sum of the votes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from tokprune.aggregators.layerwise import sum_layers
from tokprune.kernels import Backend, check_backend
from tokprune.votes import Votes


@dataclass(frozen=True)
class Total:
    """Weighted sum of the votes over voters and layers. See `tokprune.functional.exact_sum`.

    Args:
        backend: who counts votes that are attention: "auto" takes Triton on a CUDA device and torch elsewhere;
            "reference" or "triton" forces one. It changes no score by more than rounding.
    """

    backend: Backend = "auto"

    def __post_init__(self) -> None:
        check_backend("sum", self.backend)

    def __call__(self, votes: Iterable[Votes]) -> Tensor:
        """Scores `[batch token]`, float32."""
        return sum_layers("sum", votes, lambda layer: layer.total(self.backend))
