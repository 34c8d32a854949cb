"""Image encoders inside larger models: where the queries and keys of their layers come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.sources import AttentionSource
from tokprune.votes import AttentionVotes

_PLAIN = (
    "clip_vision_model",
    "siglip_vision_model",
    "internvl_vision",
    "idefics3_vision",
    "smolvlm_vision",
)
"""Encoders whose attention is that of the projections' outputs, normed or not: nothing is rotated behind them."""


def used_layers(index: int | Sequence[int], depth: int) -> int:
    """How many of `depth` layers run for what is taken: hidden states number `index`, 0 being the embeddings.

    Example:
        >>> used_layers(-2, 24), used_layers([-2, -5, 6], 24), used_layers(-1, 24)
        (23, 23, 24)
    """
    chosen = [index] if isinstance(index, int) else list(index)
    return max(each if each >= 0 else depth + 1 + each for each in chosen)


@dataclass(frozen=True)
class PaddedSource(AttentionSource):
    """A layer of an encoder that is told which of its tokens are padding: those neither vote nor get votes."""

    @property
    def padded(self) -> bool:
        """Whether it matters which tokens are padding."""
        return True

    def votes(self, halves: dict[str, Tensor], real: Tensor | None = None) -> AttentionVotes:
        """Lazy votes of this layer; `real` (bool `[batch token]`) says which tokens are no padding, None: all."""
        mask = weights = None
        if real is not None:
            real = real.to(halves["key"].device)
            mask = real[:, None, :, None] & real[:, None, None, :]
            weights = real.float().repeat(1, self.heads)
        return AttentionVotes(
            halves["query"],
            halves["key"],
            self.scale,
            mask,
            candidates=self.candidates,
            weights=weights,
            layer=self.layer,
            protected=self.protected,
        )


def tower_attention(
    model: nn.Module, tower: str, config: Any, layers: int, protected: int, padded: bool = False
) -> dict[str, list[AttentionSource]]:
    """The self-attention of the first `layers` layers of the encoder at path `tower`.

    Args:
        model: the whole model.
        tower: path of the encoder.
        config: its configuration.
        layers: how many of its layers are used.
        protected: how many of its tokens in front are no target tokens.
        padded: whether the encoder is told which of its tokens are padding.

    Returns:
        The signal, by its name; nothing for encoders that are not known.
    """
    if config.model_type not in _PLAIN:
        return {}
    kind = PaddedSource if padded else AttentionSource
    return {"encoder_attention": find_attention(model, tower, layers=layers, protected=protected, kind=kind)}


def square(config: Any) -> tuple[int, int]:
    """Rows and columns of the tokens that an encoder with this configuration makes of an image."""
    sizes = config.image_size, config.patch_size
    (height, width), (row, column) = (each if isinstance(each, list | tuple) else (each, each) for each in sizes)
    return height // row, width // column
