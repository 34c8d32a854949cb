"""Mean of the votes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.functional import exact_sum
from tokprune.votes import Votes


@dataclass(frozen=True)
class Mean:
    """Weighted mean of the votes over all voters of all layers.

    Where layers have different numbers of voters this differs from `sum` only in scale: each voter counts once.
    """

    def __call__(self, votes: Iterable[Votes]) -> Tensor:
        """Scores `[batch token]`, float32."""
        total: Tensor | None = None
        weight: Tensor | float = 0.0
        for layer in votes:
            scores = layer.total()
            total = scores if total is None else total + scores
            weight = weight + (layer.shape[1] if layer.weights is None else exact_sum(layer.weights[..., None]))
        if total is None:
            raise InvalidValueError("aggregator 'mean': the scorer gave no votes at all")
        return total / torch.as_tensor(weight, device=total.device)
