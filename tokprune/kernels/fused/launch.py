"""Sizes of tiles and grids, and the launches themselves."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import triton
from torch import Tensor

from tokprune.functional.sums import wide_dtype
from tokprune.kernels.fused.columns import column_sums
from tokprune.kernels.fused.points import BEFORE, IN_LOOP, IN_TILE
from tokprune.kernels.fused.points import points as count_points
from tokprune.kernels.fused.rows import row_sums
from tokprune.kernels.inputs import AttentionInput

MOST_CANDIDATES = 1024
"""Comparing all pairs of more candidates than this takes longer than sorting them."""
MOST_IMAGES = 65_535
"""The third side of a grid is not allowed to be longer."""

_TOGETHER = 64  # candidates that fit into one tile
_LOOPED = 1024  # voters over which every program makes the sums of the softmax itself
_BLOCKS_EACH = 4  # blocks of voters per program


def interpreted() -> bool:
    """Whether Triton runs its kernels in the interpreter, on the CPU (TRITON_INTERPRET=1 when it was imported)."""
    return not isinstance(row_sums, triton.JITFunction)


def too_large(given: AttentionInput, ranked: bool) -> str | None:
    """Why the kernels do not take this input, or None if they do."""
    if ranked and given.tokens > MOST_CANDIDATES:
        return f"{given.tokens} candidates are more than {MOST_CANDIDATES}"
    if given.batch > MOST_IMAGES:
        return f"a batch of {given.batch} is more than {MOST_IMAGES}"
    return None


def points(given: AttentionInput) -> Tensor:
    """Borda points `[batch token]`."""
    layer = _Layer(given)
    keys = given.candidates == "key"
    together = given.tokens <= _TOGETHER
    sums = (IN_TILE if together and keys else IN_LOOP if together and given.others <= _LOOPED else BEFORE).value
    block_token = _power_of_two(given.tokens) if together else 32
    block_voter = 16 if block_token == 64 else 32
    pieces = -(-given.others // (block_voter * _BLOCKS_EACH))
    token, voter = ("key", "query") if keys else ("query", "key")
    with layer.device():
        tops, masses = layer.softmax_sums() if sums == BEFORE.value else (layer.nothing, layer.nothing)
        result = layer.empty(given.batch, given.heads * pieces, given.tokens)
        count_points[pieces * -(-given.tokens // block_token), given.heads, given.batch](
            layer.sides[token],
            layer.sides[voter],
            layer.mask,
            layer.weights,
            tops,
            masses,
            result,
            given.tokens,
            given.others,
            layer.dim,
            layer.groups[token],
            layer.groups[voter],
            given.protected,
            given.scale,
            *layer.strides(token),
            *layer.strides(voter),
            *layer.mask_strides(swapped=keys),
            KEYS=keys,
            SUMS=sums,
            MASK=layer.mask_kind,
            WEIGHTED=given.weights is not None,
            TOGETHER=together,
            BLOCK_TOKEN=block_token,
            BLOCK_VOTER=block_voter,
            CHUNKED=layer.chunked,
            BLOCK_SUMMED=layer.block,
            BLOCK_DIM=layer.block_dim,
            num_warps=8 if block_token == 64 else 4,
        )
    return _added_up(result, given)


def total(given: AttentionInput) -> Tensor:
    """Summed probabilities `[batch token]`."""
    layer = _Layer(given)
    with layer.device():
        if given.candidates == "query":
            return _added_up(layer.shares(), given)
        block_key = min(_power_of_two(given.tokens), 128)
        whole = given.tokens <= block_key
        tops, masses = (layer.nothing, layer.nothing) if whole else layer.softmax_sums()
        block_key = block_key if whole else layer.block
        result = layer.empty(given.batch, given.heads, given.tokens)
        column_sums[-(-given.tokens // block_key), given.heads, given.batch](
            *layer.arguments(tops, masses, result),
            WHOLE=whole,
            CHUNKED=layer.chunked,
            BLOCK_QUERY=32 if whole else layer.block,
            BLOCK_KEY=block_key,
            BLOCK_DIM=layer.block_dim,
        )
    return _added_up(result, given)


class _Layer:
    """What all launches of one layer pass on."""

    def __init__(self, given: AttentionInput) -> None:
        query, key, mask = given.query, given.key, given.mask
        # Triton's interpreter multiplies the bit patterns of bfloat16 (triton issue 11584).
        exact = (torch.float16, torch.float32) if interpreted() else (torch.float16, torch.bfloat16, torch.float32)
        if query.dtype != key.dtype or query.dtype not in exact:
            query, key = query.float(), key.float()
        self.given = given
        self.sides = {"query": query, "key": key}
        self.groups = {"query": 1, "key": given.shared}
        self.dim = query.shape[3]
        # Products in float32 do not run on tensor cores and are unrolled: smaller tiles, or registers spill.
        wide = query.dtype == torch.float32
        self.block = 32 if wide else 64
        self.block_dim = min(_power_of_two(self.dim), 32 if wide else 128)
        self.chunked = self.dim > self.block_dim
        self.nothing = query  # stands in for a tensor that is not read
        self.mask_kind, self.mask = 0, self.nothing
        if mask is not None:
            self.mask_kind = 1 if mask.dtype == torch.bool else 2
            half = mask.dtype in (torch.float16, torch.bfloat16)
            self.mask = mask.view(torch.uint8) if self.mask_kind == 1 else mask if half else mask.float()
        self.weights = self.nothing if given.weights is None else given.weights.float().contiguous()

    def device(self) -> AbstractContextManager[Any]:
        """Triton launches on the current device, so make it the one of the tensors."""
        device = self.nothing.device
        if device.type != "cuda" or device.index == torch.cuda.current_device():
            return nullcontext()
        return torch.cuda.device(device)

    def empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=self.nothing.device, dtype=torch.float32)

    def strides(self, side: str) -> tuple[int, ...]:
        """Strides; of a batch of 1 that is broadcast, 0."""
        return _strides(self.sides[side])

    def mask_strides(self, swapped: bool) -> tuple[int, ...]:
        """Strides over images, heads, and then queries and keys, or keys and queries."""
        if not self.mask_kind:
            return (0, 0, 0, 0)
        image, head, query, key = _strides(self.mask)
        return (image, head, key, query) if swapped else (image, head, query, key)

    def arguments(self, tops: Tensor, masses: Tensor, *results: Tensor) -> tuple[Any, ...]:
        """Leading arguments of the kernels that know queries and keys, down to WEIGHTED."""
        query, key = self.sides["query"], self.sides["key"]
        return (
            query,
            key,
            self.mask,
            self.weights,
            tops,
            masses,
            *results,
            query.shape[2],
            key.shape[2],
            self.dim,
            self.given.shared,
            self.given.scale,
            *self.strides("query"),
            *self.strides("key"),
            *self.mask_strides(swapped=False),
            self.mask_kind,
            self.given.weights is not None,
        )

    def softmax_sums(self) -> tuple[Tensor, Tensor]:
        """Highest logit and sum of exponentials of every query, `[batch head query]` each."""
        queries = self.sides["query"].shape[2]
        tops = self.empty(self.given.batch, self.given.heads, queries)
        masses = torch.empty_like(tops)
        self._row_sums(tops, masses, self.nothing, shares=False)
        return tops, masses

    def shares(self) -> Tensor:
        """What every query gets from its weighted keys, `[batch head query]`."""
        shares = self.empty(self.given.batch, self.given.heads, self.sides["query"].shape[2])
        self._row_sums(self.nothing, self.nothing, shares, shares=True)
        return shares

    def _row_sums(self, tops: Tensor, masses: Tensor, results: Tensor, shares: bool) -> None:
        given = self.given
        arguments = list(self.arguments(tops, masses, results))
        if not shares:
            arguments[-1] = False  # the weights are those of other voters
        row_sums[-(-given.query.shape[2] // self.block), given.heads, given.batch](
            *arguments,
            SHARES=shares,
            CHUNKED=self.chunked,
            BLOCK_QUERY=self.block,
            BLOCK_KEY=self.block,
            BLOCK_DIM=self.block_dim,
        )


def _strides(tensor: Tensor) -> tuple[int, ...]:
    return tuple(0 if size == 1 else stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _power_of_two(length: int) -> int:
    """The power of two that holds `length`; tensor cores want 16 at least."""
    return max(16, 1 << (length - 1).bit_length())


def _added_up(parts: Tensor, given: AttentionInput) -> Tensor:
    """Sum over heads and pieces, in the same order every time."""
    return parts.sum(dim=1, dtype=wide_dtype(parts)).float()[:, given.protected :]
