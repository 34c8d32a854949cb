"""Image encoders inside larger models: where the queries and keys of their layers come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from tokprune.adapters.modules import module_at
from tokprune.adapters.sources import AttentionSource

_PLAIN = ("clip_vision_model", "siglip_vision_model")
"""Encoders whose attention is that of the projections' outputs: nothing is normed or rotated behind them."""


def used_layers(index: int | Sequence[int], depth: int) -> int:
    """How many of `depth` layers run for what is taken: hidden states number `index`, 0 being the embeddings.

    Example:
        >>> used_layers(-2, 24), used_layers([-2, -5, 6], 24), used_layers(-1, 24)
        (23, 23, 24)
    """
    chosen = [index] if isinstance(index, int) else list(index)
    return max(each if each >= 0 else depth + 1 + each for each in chosen)


def tower_attention(
    model: nn.Module, tower: str, config: Any, layers: int, protected: int
) -> list[AttentionSource] | None:
    """The self-attention of the first `layers` layers of the encoder at path `tower`.

    Args:
        model: the whole model.
        tower: path of the encoder.
        config: its configuration.
        layers: how many of its layers are used.
        protected: how many of its tokens in front are no target tokens.

    Returns:
        None for encoders that are not known.
    """
    if config.model_type not in _PLAIN:
        return None
    paths = attention_paths(module_at(model, tower), tower)
    heads = config.num_attention_heads
    return [
        AttentionSource(
            "encoder_attention",
            index,
            ((f"{path}.q_proj", "query"), (f"{path}.k_proj", "key")),
            heads,
            (config.hidden_size // heads) ** -0.5,
            candidates="key",
            protected=protected,
        )
        for index, path in enumerate(paths[:layers])
    ]


def attention_paths(encoder: nn.Module, prefix: str) -> list[str]:
    """Paths of the attention modules below `encoder`, in order: where they are differs from release to release."""
    return [
        f"{prefix}.{name}"
        for name, module in encoder.named_modules()
        if isinstance(getattr(module, "q_proj", None), nn.Module)
        and isinstance(getattr(module, "k_proj", None), nn.Module)
        and "head" not in name.split(".")
    ]
