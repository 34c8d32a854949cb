"""Answering: greedy answers of a vision-language model to samples, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import nn

from tokprune.errors import InvalidValueError
from tokprune.samples import Sample

DEFAULT_TEMPLATE = "Question: {} Short answer:"
"""What BLIP-2 is asked visual questions with."""


def prepare(model: nn.Module, processor: Any, samples: Sequence[Sample], template: str = DEFAULT_TEMPLATE) -> Any:
    """What `model.generate` takes for these samples: padded, on the model's device, pixels in its dtype.

    Raises:
        InvalidValueError: The template has no `{}` for the question.
    """
    if "{}" not in template:
        raise InvalidValueError(f"prompt template: expected '{{}}' where the question goes, got {template!r}")
    # Decoder-only: the answer continues the prompt, so the prompt must end where generation begins. Encoder-decoder:
    # padding on the left would stand between image tokens and text, and T5 counts it in the distances between the two,
    # so that an answer would depend on the other questions of its batch.
    inputs = processor(
        images=[sample.image for sample in samples],
        text=[template.replace("{}", sample.question) for sample in samples],
        padding=True,
        padding_side="right" if is_encoder_decoder(model) else "left",
        return_tensors="pt",
    )
    first = next(model.parameters())
    return inputs.to(first.device, first.dtype)


@torch.inference_mode()
def generate_answers(model: nn.Module, processor: Any, inputs: Any, max_new_tokens: int = 10) -> list[str]:
    """The model's greedy answers to prepared inputs, one per sample: the text after the prompt.

    Raises:
        InvalidValueError: The model cannot generate text.
    """
    generate = getattr(model, "generate", None)
    if generate is None:
        raise InvalidValueError(
            f"answering: {type(model).__name__} has no `generate`; expected a model that writes text"
        )
    generated = generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False, num_beams=1)
    # A decoder-only model returns the prompt in front of its answer, an encoder-decoder the answer alone.
    start = 0 if is_encoder_decoder(model) else inputs["input_ids"].shape[1]
    return [text.strip() for text in processor.batch_decode(generated[:, start:], skip_special_tokens=True)]


def forward_inputs(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Prepared inputs as the model's `forward` takes them: an encoder-decoder wants to know where its answer begins."""
    if not is_encoder_decoder(model):
        return dict(inputs)
    start: int = model.language_model.config.decoder_start_token_id  # type: ignore[union-attr, assignment]
    ids = inputs["input_ids"]
    return {**inputs, "decoder_input_ids": ids.new_full((len(ids), 1), start)}


def is_encoder_decoder(model: nn.Module) -> bool:
    """Whether the model's language model is an encoder-decoder (T5), not decoder-only (OPT)."""
    language_model = getattr(model, "language_model", model)
    return bool(getattr(language_model.config, "is_encoder_decoder", False))


def batches(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    """Consecutive groups of `size` samples; the last one may be smaller.

    Raises:
        InvalidValueError: `size` is below 1.
    """
    if size < 1:
        raise InvalidValueError(f"batch size: expected at least 1, got {size}")
    rest = iter(samples)
    while batch := list(islice(rest, size)):
        yield batch
