"""Short names for the tiny Idefics of the table."""

from __future__ import annotations

from typing import Any

from tokprune.testing.models import tiny_model
from tokprune.testing.models.inputs_crossattention import idefics as prompts

__all__ = ["prompts"]

LATENTS = 6
"""How many latents the resampler makes of an image."""


def tiny_idefics(resampler: bool = False, norms: bool = False, attention: str = "sdpa", seed: int = 0) -> Any:
    """A random Idefics in eval mode, with a resampler, or with norms after queries and keys."""
    return tiny_model("idefics", seed, attention, resampler=resampler, norms=norms)
