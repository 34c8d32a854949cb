"""The oracle: the same model, handed the tokens that stay for nothing. What pruning costs is the time above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.bench.answering import is_encoder_decoder
from tokprune.errors import InvalidValueError


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


@torch.inference_mode()
def oracle_generate(
    model: Any, inputs: Mapping[str, Tensor], rows: Tensor, *, positions: str = "compact", **options: Any
) -> Tensor:
    """`model.generate` of a BLIP-2, spelt out without any hook, on the given rows of the sequence only.

    Returns:
        New token ids of each sample, without the prompt.

    Raises:
        InvalidValueError: `positions` is "preserve" and the language model is an encoder-decoder, whose positions
            cannot be handed over from outside.
    """
    ids = inputs["input_ids"]
    image = model.vision_model(inputs["pixel_values"], return_dict=True).last_hidden_state
    query = model.qformer(
        query_embeds=model.query_tokens.expand(len(image), -1, -1),
        encoder_hidden_states=image,
        encoder_attention_mask=torch.ones(image.shape[:2], dtype=torch.long, device=image.device),
        return_dict=True,
    ).last_hidden_state
    prefix = model.language_projection(query.to(image.dtype))
    embeddings = model.get_input_embeddings()(ids)
    placeholder = (ids == model.config.image_token_id).unsqueeze(-1)
    embeddings = embeddings.masked_scatter(placeholder, prefix.to(embeddings.dtype))
    mask = inputs["attention_mask"]
    call: dict[str, Any] = {
        "inputs_embeds": embeddings.gather(1, rows.unsqueeze(-1).expand(-1, -1, embeddings.shape[-1])),
        "attention_mask": mask.gather(1, rows),
    }
    decoder_only = not is_encoder_decoder(model)
    if decoder_only:
        call["input_ids"] = ids.gather(1, rows)
    if positions == "preserve":
        if not decoder_only:
            raise InvalidValueError(
                "oracle: an encoder-decoder takes no positions from outside; use positions='compact'"
            )
        call["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0).gather(1, rows)
    generated: Tensor = model.language_model.generate(**call, **options)
    return generated[:, rows.shape[1] :] if decoder_only else generated


def new_tokens(model: nn.Module, inputs: Mapping[str, Tensor], generated: Tensor) -> Tensor:
    """What `model.generate` added to the prompt."""
    return generated if is_encoder_decoder(model) else generated[:, inputs["input_ids"].shape[1] :]
