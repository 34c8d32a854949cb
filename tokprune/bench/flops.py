"""Arithmetic of a BLIP-2-like model, stage by stage: what pruning query tokens can gain at the very best."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tokprune.errors import AdapterError

_STAGES = ("vision_model", "qformer", "language_projection", "language_model")


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of one picture and its prompt, up to the first answer token.

    A multiply-add counts two.
    """

    encoder: int
    """Image encoder."""
    connector: int
    """Q-Former and projection."""
    prefill: int
    """Language model reading visual prefix and prompt, and giving one token."""

    @property
    def total(self) -> int:
        """All stages."""
        return self.encoder + self.connector + self.prefill


def count_flops(model: nn.Module, query_tokens: int | None = None, text_tokens: int = 16) -> Flops:
    """Counts with torch's own counter on a copy of the model without weights or data, so it takes no memory and no GPU.

    Args:
        model: A BLIP-2-like model: image encoder, Q-Former, projection, language model.
        query_tokens: Query tokens that reach the language model; None for all.
        text_tokens: Length of the prompt in tokens.

    Raises:
        AdapterError: The model has other stages; its arithmetic is not known here.
    """
    missing = [stage for stage in _STAGES if not isinstance(getattr(model, stage, None), nn.Module)]
    if missing:
        raise AdapterError(
            f"arithmetic: expected a BLIP-2-like model with {', '.join(_STAGES)}; {type(model).__name__} has no "
            f"{', '.join(missing)}"
        )
    twin = _weightless(model)
    config = twin.config
    vision, queries = config.vision_config, config.num_query_tokens
    kept = queries if query_tokens is None else query_tokens
    with torch.device("meta"):
        pixels = torch.empty(1, 3, vision.image_size, vision.image_size)
        image = torch.empty(1, (vision.image_size // vision.patch_size) ** 2 + 1, vision.hidden_size)
        query = torch.empty(1, queries, config.qformer_config.hidden_size)
        text = {
            "inputs_embeds": torch.empty(1, kept + text_tokens, config.text_config.hidden_size),
        }
        if config.text_config.is_encoder_decoder:
            text["decoder_input_ids"] = torch.zeros(1, 1, dtype=torch.long)
        else:
            text["logits_to_keep"] = 1  # type: ignore[assignment]  # as `generate` does
    return Flops(
        encoder=_count(lambda: twin.vision_model(pixels)),
        connector=_count(lambda: twin.qformer(query_embeds=query, encoder_hidden_states=image))
        + _count(lambda: twin.language_projection(query)),
        prefill=_count(lambda: twin.language_model(**text)),
    )


def _weightless(model: nn.Module) -> Any:
    """The same architecture on the meta device, with eager attention: the counter knows every matrix product in it."""
    config = copy.deepcopy(model.config)
    with torch.device("meta"):
        return type(model)._from_config(config, attn_implementation="eager").eval()  # type: ignore[attr-defined]


@torch.no_grad()
def _count(stage: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        stage()
    return int(counter.get_total_flops())
