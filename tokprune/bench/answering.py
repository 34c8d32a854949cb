"""Answering: greedy answers of a model to samples, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import nn

from tokprune.bench.prompts import hears, template_for, writes_captions
from tokprune.errors import InvalidValueError
from tokprune.samples import Sample


def prepare(model: nn.Module, processor: Any, samples: Sequence[Sample], template: str | None = None) -> Any:
    """What `model.generate` takes for these samples: padded, on the model's device, pixels in its dtype.

    Args:
        model: The model.
        processor: Its processor.
        samples: Pictures and questions; for a model that listens, sounds.
        template: The prompt, with `{}` for the question; None for the model's own (`template_for`).

    Raises:
        InvalidValueError: The template does not fit the model, or the samples have no picture, or no sound.
    """
    template = template_for(model, processor, template or None)
    listens = hears(model)
    field = "audio" if listens else "image"
    for sample in samples:
        if (sample.sound if listens else sample.image) is None:
            raise InvalidValueError(
                f"sample {sample.id}: a {type(model).__name__} takes {'sound' if listens else 'pictures'}, and this "
                f"one has none; give --data a JSON Lines file with {field!r} in each line, or tokprune answer --{field}"
            )
        if "{}" in template and not sample.question:
            raise InvalidValueError(
                f"sample {sample.id}: there is no question, and a {type(model).__name__} is asked one; give 'question' "
                "in each line of the JSON Lines file, or --prompt"
            )
    given: dict[str, Any] = {"images": [[sample.image] for sample in samples]}
    if listens:
        rate = processor.feature_extractor.sampling_rate
        given = {"audio": [sample.sound.at(rate) for sample in samples if sample.sound], "sampling_rate": rate}
    elif template:
        # Decoder-only: the answer continues the prompt, so the prompt must end where generation begins.
        # Encoder-decoder: padding on the left would stand between image tokens and text, and T5 counts it in the
        # distances between the two, so that an answer would depend on the other questions of its batch.
        given["text"] = [template.replace("{}", sample.question) for sample in samples]
        given |= {"padding": True, "padding_side": "right" if is_encoder_decoder(model) else "left"}
        begins = getattr(getattr(processor, "tokenizer", None), "bos_token", None)
        if begins and template.startswith(begins):
            given["add_special_tokens"] = False  # a chat template has written it already
    inputs = processor(**given, return_tensors="pt")
    inputs.pop("labels", None)  # PaliGemma's processor makes some of every prompt
    if writes_captions(model) and not inputs.get("attention_mask", torch.ones(1)).all():
        raise InvalidValueError(
            f"a {type(model).__name__} cannot continue prompts of different lengths in one batch, because it counts "
            "padding as text; ask one sample a batch (--batch-size 1), or use a template without '{}'"
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
    start = 0 if is_encoder_decoder(model) or "input_ids" not in inputs else inputs["input_ids"].shape[1]
    if start and writes_captions(model):
        start -= 1  # it does not read the end of sequence that its tokenizer appends
    return [text.strip() for text in processor.batch_decode(generated[:, start:], skip_special_tokens=True)]


def forward_inputs(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Prepared inputs as the model's `forward` takes them: a decoder wants to know where its answer begins."""
    captions = writes_captions(model) and "input_ids" not in inputs
    if not is_encoder_decoder(model) and not captions:
        return dict(inputs)
    writer = getattr(model, "language_model", model)
    text = model.config.get_text_config()
    places = (getattr(writer, "generation_config", None), writer.config, text)
    names = ("bos_token_id",) if hasattr(model, "text_decoder") else ("decoder_start_token_id", "bos_token_id")
    start = next(i for name in names for place in places if (i := getattr(place, name, None)) is not None)
    rows = len(next(iter(inputs.values())))
    ids = torch.full((rows, 1), start, device=next(model.parameters()).device)
    return {**inputs, ("input_ids" if captions else "decoder_input_ids"): ids}


def is_encoder_decoder(model: nn.Module) -> bool:
    """Whether text goes into an encoder, or none does, and a decoder writes the answer alone (T5, Whisper, BLIP's
    answers), not decoder-only (OPT).
    """
    language_model = getattr(model, "language_model", model)
    return bool(getattr(language_model.config, "is_encoder_decoder", False)) or hasattr(model, "text_encoder")


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
