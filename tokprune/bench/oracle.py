"""The oracle: the same model, handed the tokens that stay for nothing. What pruning costs is the time above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.bench.answering import is_encoder_decoder
from tokprune.errors import InvalidValueError


@dataclass(frozen=True, eq=False)
class EncoderCut:
    """Image tokens leave the encoder's sequence here."""

    after: int
    """How many layers run before."""
    rows: Tensor
    """Which rows of the sequence that comes out of them stay, int `[image row]`."""
    tokens: Tensor | None = None
    """What they are when merged, `[image row dim]`: handed over in place of what the layers made. None for pruning."""


@dataclass(frozen=True, eq=False)
class Gift:
    """What an oracle is handed."""

    rows: Tensor | None = None
    """Which rows of the prompt stay, int `[sample row]`; None for all."""
    positions: str = "compact"
    cuts: tuple[EncoderCut, ...] = ()
    """Where image tokens leave the encoder, in order."""
    prefix: Tensor | None = None
    """The kept query tokens when merged, `[image token dim]`, as the language model reads them. None for pruning."""


def kept_rows(input_ids: Tensor, kept: Tensor, image_token: int) -> Tensor:
    """Indices of the sequence that stay, `[batch length]`: all text, and the kept query tokens.

    Args:
        input_ids: The prompt with its placeholders `[batch sequence]`.
        kept: Bool `[image token]`, images in the order of their placeholders.
        image_token: The id of the placeholder.

    Raises:
        InvalidValueError: Placeholders and tokens differ in number, or samples keep different counts.
    """
    placeholder = input_ids == image_token
    if int(placeholder.sum()) != kept.numel():
        raise InvalidValueError(f"oracle: {int(placeholder.sum())} placeholders but {kept.numel()} query tokens")
    stays = torch.ones_like(placeholder)
    stays[placeholder] = kept.flatten()
    lengths = stays.sum(1)
    if int(lengths.min()) != int(lengths.max()):
        raise InvalidValueError("oracle: expected the same number of kept tokens in every sample; use selector 'top-k'")
    return stays.nonzero()[:, 1].view(len(input_ids), -1)


@torch.no_grad()
def encode(model: Any, pixels: Tensor, cuts: Sequence[EncoderCut] = ()) -> Tensor:
    """The image encoder of a BLIP-2, layer by layer and without any hook: image tokens `[image token dim]`."""
    encoder = model.vision_model
    if not cuts:
        encoded: Tensor = encoder(pixels, return_dict=True).last_hidden_state
        return encoded
    hidden = encoder.embeddings(pixels)
    coming = {cut.after: cut for cut in cuts}
    for number, layer in enumerate(encoder.encoder.layers, start=1):
        hidden = layer(hidden)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        cut = coming.get(number)
        if cut is not None:
            hidden = take_rows(hidden, cut.rows) if cut.tokens is None else cut.tokens
    normed: Tensor = encoder.post_layernorm(hidden)
    return normed


@torch.no_grad()
def oracle_generate(model: Any, inputs: Mapping[str, Tensor], gift: Gift, **options: Any) -> Tensor:
    """`model.generate` of a BLIP-2 or an InstructBLIP, spelt out without any hook, on what it is handed only.

    Returns:
        New token ids of each sample, without the prompt.

    Raises:
        InvalidValueError: `gift.positions` is "preserve" and the language model is an encoder-decoder, whose positions
            cannot be handed over from outside.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    embeddings = prompt_embeddings(model, inputs, encode(model, inputs["pixel_values"], gift.cuts))
    decoder_only = not is_encoder_decoder(model)
    rows = gift.rows
    if rows is None:
        call: dict[str, Any] = {"inputs_embeds": embeddings, "attention_mask": mask}
        if decoder_only:
            call["input_ids"] = ids
        length = ids.shape[1]
    else:
        call = {"inputs_embeds": take_rows(embeddings, rows), "attention_mask": mask.gather(1, rows)}
        length = rows.shape[1]
        taken = ids.gather(1, rows)
        if gift.prefix is not None:
            placeholder = (taken == model.config.image_token_id).unsqueeze(-1)
            call["inputs_embeds"] = call["inputs_embeds"].masked_scatter(placeholder, gift.prefix)
        if decoder_only:
            call["input_ids"] = taken
        if gift.positions == "preserve":
            if not decoder_only:
                raise InvalidValueError(
                    "oracle: an encoder-decoder takes no positions from outside; use positions='compact'"
                )
            call["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0).gather(1, rows)
    generated: Tensor = model.language_model.generate(**call, **options)
    return generated[:, length:] if decoder_only else generated


@torch.no_grad()
def prompt_embeddings(model: Any, inputs: Mapping[str, Tensor], image: Tensor) -> Tensor:
    """What the language model reads `[sample sequence dim]`: query tokens in their places, and text.

    Args:
        model: A BLIP-2, or an InstructBLIP, whose query tokens read the question beside the image.
        inputs: The prompt with its placeholders `[sample sequence]`, and the question if the model reads one.
        image: The encoder's output `[image token dim]`.
    """
    asked = model.query_tokens.expand(len(image), -1, -1)
    question: dict[str, Tensor] = {}
    if "qformer_input_ids" in inputs:
        question["input_ids"] = inputs["qformer_input_ids"]
        real = inputs.get("qformer_attention_mask", torch.ones_like(question["input_ids"]))
        question["attention_mask"] = torch.cat([real.new_ones(asked.shape[:2]), real], dim=1)
    query = model.qformer(
        query_embeds=asked,
        encoder_hidden_states=image,
        encoder_attention_mask=torch.ones(image.shape[:2], dtype=torch.long, device=image.device),
        return_dict=True,
        **question,
    ).last_hidden_state[:, : asked.shape[1]]
    prefix = model.language_projection(query.to(image.dtype))
    ids = inputs["input_ids"]
    embeddings: Tensor = model.get_input_embeddings()(ids)
    placeholder = (ids == model.config.image_token_id).unsqueeze(-1)
    return embeddings.masked_scatter(placeholder, prefix.to(embeddings.dtype))


def take_rows(sequence: Tensor, rows: Tensor) -> Tensor:
    """Some rows of each sequence: `[batch sequence dim]`, `[batch row]` -> `[batch row dim]`."""
    return sequence.gather(1, rows.unsqueeze(-1).expand(-1, -1, sequence.shape[-1]))


def new_tokens(model: nn.Module, inputs: Mapping[str, Tensor], generated: Tensor) -> Tensor:
    """What `model.generate` added to the prompt."""
    return generated if is_encoder_decoder(model) else generated[:, inputs["input_ids"].shape[1] :]
