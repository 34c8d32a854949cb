"""The torch backend: on every device, a block of bounded size at a time. The reference twin of the fused kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce

import torch
from torch import Tensor

from tokprune.functional import attention_probabilities
from tokprune.functional.attention import attention_logits
from tokprune.functional.chunks import cells, spans
from tokprune.functional.ranking import count_points
from tokprune.functional.sums import wide_dtype, wide_sum
from tokprune.kernels.inputs import AttentionInput


def points(given: AttentionInput) -> Tensor:
    """Borda points `[batch token]`."""
    return _in_blocks(given, _points).float()


def total(given: AttentionInput) -> Tensor:
    """Summed probabilities `[batch token]`."""
    return _in_blocks(given, _total).float()


def _in_blocks(given: AttentionInput, count: Callable[[AttentionInput], Tensor]) -> Tensor:
    """Count some images at a time, or some heads of one image: as many as have room for their probabilities."""
    room = cells(given.query) // (given.query.shape[2] * given.key.shape[2])
    if given.batch * given.heads <= room:
        return count(given)
    counted = given.query.new_zeros(given.batch, given.tokens - given.protected, dtype=wide_dtype(given.query))
    step = given.heads if room >= given.heads else max(1, room // given.shared * given.shared)
    for images in spans(given.batch, room // given.heads):
        for heads in spans(given.heads, step):
            counted[images] += count(given.part(images, heads))
    return counted


def _points(block: AttentionInput) -> Tensor:
    def by_head(who: slice, votes: Tensor) -> Tensor:
        weights = None if block.weights is None else block.weights[..., who].flatten(0, 1)
        return count_points(votes.flatten(0, 1), weights)

    counted = reduce(torch.add, (by_head(*cast) for cast in _votes(block)))
    return counted.view(block.batch, block.heads, -1).sum(dim=1)


def _votes(block: AttentionInput) -> Iterator[tuple[slice, Tensor]]:
    """Which voters of each head, and how they vote: `[batch head token voter]`."""
    room = cells(block.query) // (block.batch * block.heads)
    if block.candidates == "key":
        for queries in spans(block.query.shape[2], room // block.key.shape[2]):
            yield queries, attention_probabilities(*block.rows(queries))[..., block.protected :].transpose(2, 3)
    elif block.query.shape[2] * block.key.shape[2] <= room:
        yield slice(None), attention_probabilities(*block.rows(slice(None)))
    else:
        top, mass = _normaliser(block, room)
        for keys in spans(block.key.shape[2], room // block.query.shape[2]):
            yield keys, ((attention_logits(*block.columns(keys)) - top).exp_() / mass).nan_to_num_(0.0)


def _normaliser(block: AttentionInput, room: int) -> tuple[Tensor, Tensor]:
    """Highest logit of each query, and the sum of the exponentials of how far the others lie below: `[... query 1]`."""
    tops, masses = [], []
    for queries in spans(block.query.shape[2], room // block.key.shape[2]):
        logits = attention_logits(*block.rows(queries))
        top = logits.amax(dim=-1, keepdim=True)
        tops.append(top)
        masses.append((logits - top).exp_().sum(dim=-1, keepdim=True))
    return torch.cat(tops, dim=2), torch.cat(masses, dim=2)


def _total(block: AttentionInput) -> Tensor:
    counted = []
    for queries in spans(block.query.shape[2], cells(block.query) // (block.batch * block.heads * block.key.shape[2])):
        votes = attention_probabilities(*block.rows(queries))
        if block.candidates == "key":
            weights = None if block.weights is None else block.weights[..., queries].flatten(1)
            counted.append(wide_sum(votes[..., block.protected :].flatten(1, 2), weights))
        else:
            votes, weights = votes.transpose(2, 3).flatten(0, 1), block.weights
            by_head = wide_sum(votes, None if weights is None else weights.flatten(0, 1))
            counted.append(by_head.view(block.batch, block.heads, -1).sum(dim=1))
    return torch.stack(counted).sum(dim=0) if block.candidates == "key" else torch.cat(counted, dim=1)
