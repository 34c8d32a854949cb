"""Four ways to count the votes of some attention layers: two of this project, and two that one meets elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from tokprune.functional import attention_probabilities, exact_sum
from tokprune.kernels import Backend, attention_points, attention_total

Layer = tuple[Tensor, Tensor]
"""Queries and keys, each `[batch head token dim]`."""

Side = Literal["query", "key"]
Count = Callable[[Sequence[Layer], Side], Tensor]


def points_by(backend: Backend) -> Count:
    """Borda points, straight from queries and keys."""

    def count(layers: Sequence[Layer], candidates: Side) -> Tensor:
        points = [attention_points(q, k, _scale(q), candidates=candidates, backend=backend) for q, k in layers]
        return torch.stack(points).sum(dim=0)

    return count


def total_by(backend: Backend) -> Count:
    """Summed probabilities, straight from queries and keys."""

    def count(layers: Sequence[Layer], candidates: Side) -> Tensor:
        totals = [attention_total(q, k, _scale(q), candidates=candidates, backend=backend) for q, k in layers]
        return torch.stack(totals).sum(dim=0)

    return count


def points_by_double_argsort(layers: Sequence[Layer], candidates: Side) -> Tensor:
    """The map of a layer, ranked all at once by sorting the order of its sorted order. Ties go by position."""
    total = None
    for query, key in layers:
        attention = attention_probabilities(query, key, _scale(query))
        along, voters = (2, 3) if candidates == "query" else (3, 2)
        ranks = attention.argsort(dim=along).argsort(dim=along)
        points = ranks.sum(dim=(1, voters))
        total = points if total is None else total + points
    return _some(total).float()


def points_row_by_row(layers: Sequence[Layer], candidates: Side) -> Tensor:
    """The same as research code is written: every head and every voter in a loop, all images at once."""
    total = None
    for query, key in layers:
        attention = attention_probabilities(query, key, _scale(query))
        votes = attention.transpose(2, 3) if candidates == "query" else attention
        if total is None:
            total = torch.zeros(votes.shape[0], votes.shape[3], device=votes.device)
        for head in range(votes.shape[1]):
            for voter in range(votes.shape[2]):
                total += votes[:, head, voter].argsort(dim=-1).argsort(dim=-1)
    return _some(total)


def total_of_maps(layers: Sequence[Layer], candidates: Side) -> Tensor:
    """The map of a layer, summed."""
    total = None
    for query, key in layers:
        attention = attention_probabilities(query, key, _scale(query))
        votes = attention.transpose(2, 3) if candidates == "query" else attention
        summed = exact_sum(votes.flatten(1, 2))
        total = summed if total is None else total + summed
    return _some(total)


def _scale(query: Tensor) -> float:
    return float(query.shape[-1] ** -0.5)


def _some(total: Tensor | None) -> Tensor:
    if total is None:
        raise ValueError("there are no layers to count")
    return total
