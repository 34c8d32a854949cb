"""Borda count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from tokprune.aggregators.layerwise import sum_layers
from tokprune.kernels import Backend, check_backend
from tokprune.votes import Votes


@dataclass(frozen=True)
class Borda:
    """Every voter ranks the tokens and gives 0 .. T-1 points, ties sharing; points are summed over voters and layers.

    See `tokprune.functional.borda_scores`.

    Args:
        backend: who counts votes that are attention: "auto" takes Triton on a CUDA device and torch elsewhere;
            "reference" or "triton" forces one. It changes no score.
    """

    backend: Backend = "auto"

    def __post_init__(self) -> None:
        check_backend("borda", self.backend)

    def __call__(self, votes: Iterable[Votes]) -> Tensor:
        """Points `[batch token]`, float32."""
        return sum_layers("borda", votes, lambda layer: layer.points(self.backend))
