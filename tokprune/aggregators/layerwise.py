"""Adding what each layer says, one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.votes import Votes


def sum_layers(name: str, votes: Iterable[Votes], score: Callable[[Votes], Tensor]) -> Tensor:
    """Sum `score(layer)` over the layers; a layer's votes are read once and let go before the next is asked for."""
    total: Tensor | None = None
    for layer in votes:
        scores = score(layer)
        total = scores if total is None else total + scores
    if total is None:
        raise InvalidValueError(f"aggregator {name!r}: the scorer gave no votes at all")
    return total
