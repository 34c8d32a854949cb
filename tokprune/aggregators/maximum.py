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
            scores = _highest(layer)
            best = scores if best is None else torch.maximum(best, scores)
        if best is None:
            raise InvalidValueError("aggregator 'max': the scorer gave no votes at all")
        return best


def _highest(layer: Votes) -> Tensor:
    # A function of its own, so that a layer's votes are let go before the next layer's are made.
    values = layer.values.float()
    return (values if layer.weights is None else values * layer.weights.float()[..., None]).amax(dim=1)
