"""The votes of an encoder whose attention is among all tiles of an image, about the tokens of one tile at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tokprune.adapters.crossing.textvotes import own_last
from tokprune.votes import AttentionVotes


@dataclass(frozen=True, eq=False)
class Tiles:
    """How the tokens of tiles stand in an encoder's sequence: tile by tile, each filled up with padding at its end.

    Attributes:
        tokens: how many tokens a tile has, without padding.
        real: which tiles are no padding, bool `[image tile]`.
    """

    tokens: int
    real: Tensor

    def votes(self, votes: AttentionVotes, protected: int) -> AttentionVotes:
        """`votes` of whole images as votes about tiles `[tile voter token]`.

        The tile's own tokens vote first, its [CLS] in front of them; padding and padded tiles do not vote. All tokens
        take their part of the attention, padding too, as in the model; but only a tile's own are candidates.
        """
        query, key = votes.query, votes.key
        images, total = key.shape[0], key.shape[2]
        tiles = self.real.shape[1]
        last = own_last(tiles, self.tokens, total, key.device).repeat(images, 1)
        first = last.roll(self.tokens, dims=1)
        query, key = (each.repeat_interleave(tiles, dim=0) for each in (query, key))
        query = query.gather(2, first[:, None, :, None].expand_as(query))
        key = key.gather(2, last[:, None, :, None].expand_as(key))
        voting = torch.zeros(images, tiles, total // tiles, dtype=torch.bool, device=key.device)
        voting[..., : self.tokens] = self.real.to(key.device)[..., None]
        voting = voting.flatten(1).repeat_interleave(tiles, dim=0).gather(1, first)
        return AttentionVotes(
            query,
            key,
            votes.scale,
            voting[:, None, :, None].expand(-1, -1, -1, total),
            candidates="key",
            weights=voting.float().repeat(1, votes.heads),
            layer=votes.layer,
            protected=total - self.tokens + protected,
        )
