"""Focus: a token that looks at something beats one that looks everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from tokprune.layers import Layers, check_layers, pick_layers
from tokprune.signal import Signal
from tokprune.votes import Votes


@dataclass(frozen=True)
class Focus:
    """Low entropy of a token's cross-attention over the other side, summed over heads and layers.

    Formula: each head votes `-H(p) = sum over n of p[n] log p[n]`, where p is the token's attention over the voters,
    normalised to one. The opposite of what CATP rewards: Borda over image tokens prefers spread-out attention.

    Args:
        layers: "all", "first", "last" or layer indices, counted among the cross-attention layers.

    Example:
        >>> Focus(layers=[0, 2])
        Focus(layers=(0, 2))
    """

    layers: Layers = "all"

    needs: ClassVar[tuple[str, ...]] = ("cross_attention",)
    aggregator: ClassVar[str] = "sum"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", check_layers("focus", self.layers))

    @property
    def layers_read(self) -> Mapping[str, Layers]:
        """Which layers to capture."""
        return {"cross_attention": self.layers}

    def __call__(self, signal: Signal) -> Iterator[Votes]:
        """Yield, per layer, one ballot of each head."""
        for votes in pick_layers(signal.cross_attention, self.layers):
            attention = votes.by_head.float()
            share = attention / attention.sum(dim=2, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
            yield Votes(torch.special.xlogy(share, share).sum(dim=2), layer=votes.layer, heads=votes.heads)
