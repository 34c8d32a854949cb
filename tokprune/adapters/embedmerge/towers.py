"""Image encoders inside larger models: where the queries and keys of their layers come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.sources import AttentionSource

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
    return {"encoder_attention": find_attention(model, tower, layers=layers, protected=protected, padded=padded)}


def square(config: Any) -> tuple[int, int]:
    """Rows and columns of the tokens that an encoder with this configuration makes of an image."""
    sizes = config.image_size, config.patch_size
    (height, width), (row, column) = (each if isinstance(each, list | tuple) else (each, each) for each in sizes)
    return height // row, width // column
