"""Short names for the tiny InstructBLIP for videos of the table."""

from __future__ import annotations

from typing import Any

from tokprune.testing.models import tiny_model
from tokprune.testing.models.inputs_qformer import FRAMES
from tokprune.testing.models.inputs_qformer import films as prompts

__all__ = ["FRAMES", "prompts"]


def tiny_instructblipvideo(kind: str = "llama") -> Any:
    """A random InstructBLIP for videos in eval mode."""
    return tiny_model("instructblip-video", text=kind)
