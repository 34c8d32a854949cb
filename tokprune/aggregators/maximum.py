"""Highest vote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.votes import Votes


@dataclass(frozen=True)
class Maximum:
    """The highest (weighted) vote that any voter of any layer gives a token: one passionate voter is enough."""

    def __call__(self, votes: Iterable[Votes]) -> Tensor:
        """Scores `[batch token]`, float32."""
        best: Tensor | None = None
        for layer in votes:
            values = layer.values.float()
            if layer.weights is not None:
                values = values * layer.weights.float()[..., None]
            scores = values.amax(dim=1)
            best = scores if best is None else torch.maximum(best, scores)
        if best is None:
            raise InvalidValueError("aggregator 'max': the scorer gave no votes at all")
        return best
