"""Received attention: an image token, or a frame of sound, matters if the others look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from tokprune.layers import Layers, check_layers, pick_layers
from tokprune.signal import Signal
from tokprune.votes import Votes


@dataclass(frozen=True)
class ReceivedAttention:
    """Attention that an image token receives in the image encoder, summed over heads and over all tokens that look.

    For a target that is cut inside the encoder the layers are those in front of the cut (behind the cut before, if
    there are several), and "last" is the one that was just run: the usual choice, and the cheapest.

    Args:
        layers: "all", "first", "last" or layer indices.

    Source: the cumulative token importance of SpAtten, arXiv 2012.09852, section III-A, in an image encoder.

    Example:
        >>> ReceivedAttention()
        ReceivedAttention(layers='last')
    """

    layers: Layers = "last"

    needs: ClassVar[tuple[str, ...]] = ("encoder_attention",)
    targets: ClassVar[tuple[str, ...]] = ("image", "audio")  # of other targets the encoder's tokens are the voters
    aggregator: ClassVar[str] = "sum"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", check_layers("received-attention", self.layers))

    @property
    def layers_read(self) -> Mapping[str, Layers]:
        """Which layers to capture."""
        return {"encoder_attention": self.layers}

    def __call__(self, signal: Signal) -> Iterator[Votes]:
        """Yield the encoder's attention in each chosen layer as votes."""
        yield from pick_layers(signal.encoder_attention, self.layers)
