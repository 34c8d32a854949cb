"""Short names for the tiny InstructBLIP of the table."""

from __future__ import annotations

from typing import Any

from tokprune.testing.models import tiny_model
from tokprune.testing.models.inputs_qformer import QUESTION_PAD
from tokprune.testing.models.inputs_qformer import questioned as prompts

__all__ = ["QUESTION_PAD", "prompts"]

LANGUAGE_MODELS = ("llama", "t5")
"""The kinds that transformers' InstructBLIP comes with: Vicuna is a LLaMA."""


def tiny_instructblip(kind: str = "llama", attention: str = "sdpa", seed: int = 0, shallow: bool = False) -> Any:
    """A random InstructBLIP in eval mode; `shallow` leaves one layer of each kind."""
    return tiny_model("instructblip", seed, attention, text=kind, depth=1 if shallow else 3)
