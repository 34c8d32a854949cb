"""Short names for the tiny LLaVA of the table that is deep enough to be pruned inside the language model."""

from __future__ import annotations

from typing import Any

from tokprune.testing.models import tiny_model
from tokprune.testing.models.inputs_prompt import IMAGE, PAD, shaped
from tokprune.testing.models.inputs_prompt import deep as prompts
from tokprune.testing.models.table import DEEP

__all__ = ["IMAGE", "PAD", "prompts", "shaped"]

TOKENS, DEPTH = 16, 4
"""Image tokens of one picture, and layers of the language model."""
LANGUAGE_MODELS = tuple(DEEP)
"""The kinds that are tried; Gemma 2 caps its logits, so that it needs attention "eager"."""


def tiny_inside(kind: str = "llama", attention: str = "sdpa", seed: int = 0, shapes: bool = False) -> Any:
    """A random LLaVA in eval mode with a language model of 4 layers; `shapes`: pictures of any shape."""
    return tiny_model("llava, deep", seed, attention, text=kind, shapes=shapes)
