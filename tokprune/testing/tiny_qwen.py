"""Short names for the tiny Qwen-VL models of the table."""

from __future__ import annotations

from functools import partial

from tokprune.testing.models import tiny_model
from tokprune.testing.models.inputs_prompt import BOS, EOS, IMAGE, PAD, VIDEO, Item, tokens
from tokprune.testing.models.inputs_prompt import grids as images
from tokprune.testing.models.inputs_prompt import qwen as prompts

__all__ = ["BOS", "EOS", "IMAGE", "PAD", "VIDEO", "Item", "images", "prompts", "tokens"]

tiny_qwen2_vl = partial(tiny_model, "qwen2-vl")
tiny_qwen2_5_vl = partial(tiny_model, "qwen2-5-vl")
tiny_qwen3_vl = partial(tiny_model, "qwen3-vl")
