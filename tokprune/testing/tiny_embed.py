"""Short names for the tiny models of the table that read image tokens in their prompt."""

from __future__ import annotations

from functools import partial
from typing import Any

from tokprune.testing.models import tiny_model
from tokprune.testing.models.inputs_prompt import BOS, EOS, IMAGE, PAD, pixels, prompts, shapes, tiles

__all__ = ["BOS", "EOS", "IMAGE", "PAD", "pixels", "prompts", "shapes", "tiles"]

tiny_vipllava = partial(tiny_model, "vipllava")
tiny_llava_next = partial(tiny_model, "llava-next")
tiny_idefics2 = partial(tiny_model, "idefics2")
tiny_paligemma = partial(tiny_model, "paligemma")
tiny_gemma3 = partial(tiny_model, "gemma3")
tiny_internvl = partial(tiny_model, "internvl")
tiny_aya_vision = partial(tiny_model, "aya-vision")
tiny_mistral3 = partial(tiny_model, "mistral3")


def tiny_llava(attention: str = "sdpa", seed: int = 0) -> Any:
    """A random LLaVA in eval mode."""
    return tiny_model("llava", seed, attention)


def tiny_idefics3(smol: bool = False) -> Any:
    """A random Idefics3, or SmolVLM, in eval mode."""
    return tiny_model("smolvlm" if smol else "idefics3")


def tiny_llava_onevision(most: int = 9) -> Any:
    """A random LLaVA-OneVision in eval mode, whose images are scaled down if they were more than `most` tiles."""
    return tiny_model("llava-onevision", most=most)
