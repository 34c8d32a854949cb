"""Resamplers: learned queries that read an image, and each other as well."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tokprune.adapters.sources import AttentionSource
from tokprune.votes import AttentionVotes


@dataclass(frozen=True)
class ResamplerSource(AttentionSource):
    """A cross-attention whose keys are an image's tokens and, behind them, the queries themselves.

    The image's tokens vote; what queries give each other takes part in the softmax, and is no vote.

    Args:
        key_heads: number of heads of the keys, each of which serves several of the queries' heads.
    """

    key_heads: int = 1

    @property
    def padded(self) -> bool:
        """Whether it matters which tokens are padding."""
        return True

    def split(self, parts: str, output: Tensor) -> dict[str, Tensor]:
        """Queries or keys `[batch head token dim]` in a projection's output."""
        heads = self.heads if parts == "query" else self.key_heads
        part = output.detach().reshape(*output.shape[:-1], heads, -1).transpose(1, 2)
        return {parts: part.repeat_interleave(self.heads // heads, dim=1)}

    def votes(self, halves: dict[str, Tensor], real: Tensor | None = None) -> AttentionVotes:
        """Lazy votes of this layer; `real` (bool `[batch token]`) says which image tokens are no padding."""
        query, key = halves["query"], halves["key"]
        image = key.shape[2] - query.shape[2]
        mask = weights = None
        if real is not None:
            real = real.to(key.device)
            mask = real.new_ones(real.shape[0], 1, 1, key.shape[2])
            mask[:, 0, 0, :image] = real
            weights = real.float().repeat(1, self.heads)
        return AttentionVotes(
            query,
            key,
            self.scale,
            mask,
            candidates="query",
            weights=weights,
            layer=self.layer,
            voters=(0, image),
        )
