"""Short names for the tiny Mllama of the table."""

from __future__ import annotations

from typing import Any

from tokprune.testing.models import tiny_model
from tokprune.testing.models.inputs_crossattention import mllama as prompts
from tokprune.testing.models.table import CROSSING

__all__ = ["CROSSING", "prompts"]


def tiny_mllama(tiles: int = 1, attention: str = "sdpa", seed: int = 0) -> Any:
    """A random Mllama in eval mode."""
    return tiny_model("mllama", seed, attention, tiles=tiles)
