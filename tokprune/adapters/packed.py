"""Attention of an encoder that runs over all images of a call as one sequence, each image for itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.sources import AttentionSource
from tokprune.pooled import PooledVotes
from tokprune.votes import AttentionVotes


@dataclass(frozen=True, eq=False)
class PackedAttention:
    """Queries and keys of one layer for all images of a call.

    Attributes:
        query: `[1 head token dim]`.
        key: `[1 head token dim]`.
        bounds: where each stretch of tokens that attend to each other begins, and the end of the last `[stretch + 1]`.
        scale: factor on the dot products.
        layer: index of the layer.
    """

    query: Tensor
    key: Tensor
    bounds: Tensor
    scale: float
    layer: int

    def pooled(self, places: Tensor, images: int) -> PooledVotes:
        """Votes for the image tokens that are made of the tokens at `places` `[image token merged]`, cast by these.

        Args:
            places: of some of the images.
            images: how many the call has.
        """
        own = torch.arange(places.numel(), device=places.device).view(places.shape)
        return PooledVotes(self.of(places.flatten(1), images), own)

    def of(self, places: Tensor, images: int) -> AttentionVotes:
        """The votes of the tokens at `places` `[image token]` for each other, where the call has so many `images`."""
        query, key = (side[0][:, places.to(side.device)].transpose(0, 1) for side in (self.query, self.key))
        mask = None
        if len(self.bounds) - 1 > images:  # windows, or frames: tokens do not see their whole image
            order = torch.arange(self.query.shape[2], device=self.bounds.device)
            stretch = torch.searchsorted(self.bounds[1:].contiguous(), order, right=True)[places.to(order.device)]
            mask = (stretch[:, None, :, None] == stretch[:, None, None, :]).to(query.device)
        return AttentionVotes(query, key, self.scale, mask, candidates="key", layer=self.layer)


@dataclass(frozen=True)
class PackedSource(AttentionSource):
    """One layer of such an encoder. Its queries and keys are rotated by the places of their tokens before they meet.

    The attention module is given the rotation (`position_embeddings`, cosines and sines `[token dim]`) and which tokens
    attend to each other (`cu_seqlens`) by its caller.
    """

    @property
    def reads(self) -> tuple[str, ...]:
        """Keyword arguments of the attention module that matter."""
        return "position_embeddings", "cu_seqlens"

    def split(self, parts: str, output: Tensor) -> dict[str, Tensor]:
        """Queries and keys `[1 head token dim]` in a projection's output `[token features]`."""
        return super().split(parts, output[None])

    def packed(self, halves: Mapping[str, Tensor], around: Mapping[str, Any]) -> PackedAttention:
        """The attention of this layer from its halves, and the keyword arguments of the attention module."""
        rotation = around["position_embeddings"]
        query, key = (rotated(halves[name], *rotation) for name in ("query", "key"))
        return PackedAttention(query, key, around["cu_seqlens"], self.scale, self.layer)


def rotated(values: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """`values` `[1 head token dim]`, the first half of each vector's numbers rotated against the second."""
    wide = values.float()
    first, second = wide.chunk(2, dim=-1)
    turned = wide * cosine.float() + torch.cat([-second, first], dim=-1) * sine.float()
    return turned.to(values.dtype)
