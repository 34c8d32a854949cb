"""Attention of an encoder that reads all images of a call as one sequence, each image for itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tokprune.adapters.tap import Seen
from tokprune.pooled import PooledVotes
from tokprune.votes import AttentionVotes


@dataclass(frozen=True, eq=False)
class PackedAttention:
    """The attention of one layer to all images of a call.

    Attributes:
        calls: what its calls show: one for the whole sequence, or one for each stretch of it, in order.
        layer: index of the layer.
    """

    calls: tuple[Seen, ...]
    layer: int

    @cached_property
    def query(self) -> Tensor:
        """`[1 head token dim]`."""
        return torch.cat([seen.query.detach() for seen in self.calls], dim=2)

    @cached_property
    def key(self) -> Tensor:
        """`[1 head token dim]`."""
        return torch.cat([seen.key.detach() for seen in self.calls], dim=2)

    @cached_property
    def bounds(self) -> Tensor:
        """Where each stretch of tokens that see each other begins, and the end of the last `[stretch + 1]`."""
        if len(self.calls) == 1 and self.calls[0].bounds is not None:
            return self.calls[0].bounds
        return torch.tensor([0, *(seen.query.shape[2] for seen in self.calls)]).cumsum(dim=0)

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
        return AttentionVotes(query, key, self.calls[0].scale, mask, candidates="key", layer=self.layer)
