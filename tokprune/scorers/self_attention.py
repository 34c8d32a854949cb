"""Self-attention: a token matters if the other target tokens attend to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from tokprune.layers import Layers, check_layers, pick_layers
from tokprune.signal import Signal
from tokprune.votes import Votes


@dataclass(frozen=True)
class SelfAttention:
    """Attention that a token receives from the other target tokens, summed over heads, layers and queries.

    For BLIP-2's query tokens this is the Q-Former's self-attention, in which the question votes too where the
    Q-Former reads it (InstructBLIP). CATP's main baseline.

    Args:
        layers: "all", "first", "last" or layer indices.

    Source: SpAtten's cumulative token importance, arXiv 2012.09852, section III-A.

    Example:
        >>> SelfAttention().aggregator
        'sum'
    """

    layers: Layers = "all"

    needs: ClassVar[tuple[str, ...]] = ("self_attention",)
    aggregator: ClassVar[str] = "sum"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", check_layers("self-attention", self.layers))

    @property
    def layers_read(self) -> Mapping[str, Layers]:
        """Which layers to capture."""
        return {"self_attention": self.layers}

    def __call__(self, signal: Signal) -> Iterator[Votes]:
        """Yield the self-attention of each chosen layer as votes."""
        yield from pick_layers(signal.self_attention, self.layers)
