"""Short names for the tiny models of the table whose decoder cross-attends to an encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from tokprune.testing.models import tiny_model
from tokprune.testing.models.inputs_crossattention import BOS, EOS, NO_TIMESTAMPS, PAD, START, TEXT, labelled, sounds
from tokprune.testing.models.inputs_crossattention import pictured as prompts
from tokprune.testing.models.inputs_crossattention import written as pictures

__all__ = ["BOS", "EOS", "NO_TIMESTAMPS", "PAD", "START", "TEXT", "pictures", "prompts", "sounds"]


def tiny_blip(answers: bool = False, attention: str = "eager", seed: int = 0) -> Any:
    """A random BLIP in eval mode."""
    return tiny_model("blip", seed, attention, answers=answers)


def tiny_whisper(attention: str = "sdpa", seed: int = 0) -> Any:
    """A random Whisper in eval mode."""
    return tiny_model("whisper", seed, attention)


def tiny_vision_encoder_decoder(
    encoder: str = "vit", decoder: str = "gpt2", attention: str = "sdpa", seed: int = 0
) -> Any:
    """A random VisionEncoderDecoderModel in eval mode."""
    return tiny_model("vision-encoder-decoder", seed, attention, encoder=encoder, text=decoder)


def answers_to(questions: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    """Inputs with an answer for each question, by which the loss is computed."""
    return lambda *args, **options: labelled(questions(*args, **options))
