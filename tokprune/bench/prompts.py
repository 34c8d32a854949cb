"""Prompts: the text that a model is asked a visual question with, where its processor or its family says so."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from tokprune.errors import InvalidValueError
from tokprune.samples import Sample

BLIP2_TEMPLATE = "Question: {} Short answer:"
"""What BLIP-2 is asked visual questions with."""

_OF_FAMILIES = {
    "blip-2": BLIP2_TEMPLATE,
    "instructblip": BLIP2_TEMPLATE,
    "paligemma": "<image>answer en {}",
    "blip": "{}",
}
"""Type of the model -> its prompt; these processors put the image's place in front where the prompt names none."""

_TURN = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "{}"}]}]


def template_for(model: nn.Module, processor: Any, typed: str | None = None) -> str:
    """The prompt of a model, with `{}` for the question; empty for a model that is given no text.

    That is the processor's chat template with one user turn, the image and the question, or else what the family is
    asked with, or else the image's placeholder and the question.

    Args:
        model: The model.
        processor: Its processor.
        typed: A prompt of the user's, which is used instead.

    Raises:
        InvalidValueError: `typed` lacks the question's place or the image's, or the model is given no text.
    """
    if typed is not None:
        _check(model, processor, typed)
        return typed
    if not reads_text(model) or writes_captions(model):
        return ""
    place = getattr(processor, "image_token", None)
    if getattr(processor, "chat_template", None):
        chat: str = processor.apply_chat_template(_TURN, add_generation_prompt=True, tokenize=False)
        if place is None or str(place) in chat:
            return chat
    config: Any = model.config
    return _OF_FAMILIES.get(config.model_type, f"{place or ''}\n{{}}".strip())


def reads_text(model: nn.Module) -> bool:
    """Whether a model is given text beside its picture; Whisper and VisionEncoderDecoder are not."""
    return "input_ids" in inspect.signature(model.forward).parameters


def hears(model: nn.Module) -> bool:
    """Whether a model is given sound."""
    return getattr(model, "main_input_name", "") == "input_features"


def longest_answer(model: nn.Module) -> int:
    """How many tokens an answer may have unless one says so: a short answer, a caption, or a transcript."""
    if hears(model):
        config: Any = model.config
        most: int = config.max_target_positions
        return min(128, most // 2)
    return 32 if writes_captions(model) or not reads_text(model) else 10


def unasked(model: nn.Module, template: str, sample: Sample) -> str:
    """What to say about a question that a model is not asked; empty if it is, or if there is none."""
    if "{}" in template or not sample.question:
        return ""
    text = "transcripts" if hears(model) else "captions"
    return f"note: a {type(model).__name__} writes {text}, so the questions are not asked"


def writes_captions(model: nn.Module) -> bool:
    """Whether a model goes on with the text it is given instead of answering it: BLIP's captioner."""
    return hasattr(model, "text_decoder") and not hasattr(model, "text_encoder")


def _check(model: nn.Module, processor: Any, typed: str) -> None:
    name = type(model).__name__
    if not reads_text(model):
        raise InvalidValueError(f"prompt template: a {name} is given no text; leave the template out, got {typed!r}")
    if "{}" not in typed and not writes_captions(model):
        raise InvalidValueError(f"prompt template: expected '{{}}' where the question goes, got {typed!r}")
    place = getattr(processor, "image_token", None)
    config: Any = model.config
    needed = place is not None and config.model_type not in _OF_FAMILIES
    if needed and str(place) not in typed:
        raise InvalidValueError(
            f"prompt template: expected {str(place)!r} where the image goes, as this {name} is asked with "
            f"{template_for(model, processor)!r}, got {typed!r}"
        )
