"""Smaller copies of a published shape: fewer attention heads of the same size, fewer layers, the same tokens."""

from __future__ import annotations

from fractions import Fraction
from typing import Any


def part(number: int, scale: Fraction) -> int:
    """That part of a number, and 1 at least."""
    return max(1, round(number * scale))


def shape(scale: Fraction, *, layers: int, heads: int, head_dim: int) -> dict[str, Any]:
    """Depth, heads and width, as most configurations call them."""
    heads = part(heads, scale)
    return {
        "num_hidden_layers": part(layers, scale),
        "num_attention_heads": heads,
        "hidden_size": heads * head_dim,
    }


def grouped_shape(scale: Fraction, *, layers: int, heads: int, groups: int, head_dim: int) -> dict[str, Any]:
    """The same where `groups` heads of keys and values are shared by all heads, evenly."""
    shared = part(groups, scale)
    heads = shared * max(1, round(heads * scale / shared))
    return {
        "num_hidden_layers": part(layers, scale),
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "hidden_size": heads * head_dim,
    }
