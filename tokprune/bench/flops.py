"""Arithmetic of a BLIP-2-like model, stage by stage: what pruning query tokens can gain at the very best."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
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


class FlopCounter:
    """Counts with torch's own counter on a copy of the model without weights or data: no memory, no GPU, no waiting.

    Args:
        model: A BLIP-2-like model: image encoder, Q-Former, projection, language model.
        text_tokens: Length of the prompt in tokens.

    Raises:
        AdapterError: The model has other stages; its arithmetic is not known here.
    """

    def __init__(self, model: nn.Module, text_tokens: int = 16) -> None:
        missing = [stage for stage in _STAGES if not isinstance(getattr(model, stage, None), nn.Module)]
        if missing:
            raise AdapterError(
                f"arithmetic: expected a BLIP-2-like model with {', '.join(_STAGES)}; {type(model).__name__} has no "
                f"{', '.join(missing)}"
            )
        self._twin = _weightless(model)
        self._text_tokens = text_tokens
        self.query_tokens = int(self._twin.config.num_query_tokens)
        """Query tokens of the unpruned model."""

    def count(self, query_tokens: int | None = None) -> Flops:
        """The operations when that many query tokens reach the language model; None for all."""
        kept = self.query_tokens if query_tokens is None else query_tokens
        return Flops(self._encoder, self._connector, self._prefill(kept + self._text_tokens))

    @cached_property
    def _encoder(self) -> int:
        vision = self._twin.config.vision_config
        pixels = torch.empty(1, 3, vision.image_size, vision.image_size, device="meta")
        return _count(lambda: self._twin.vision_model(pixels))

    @cached_property
    def _connector(self) -> int:
        config = self._twin.config
        vision = config.vision_config
        image_tokens = (vision.image_size // vision.patch_size) ** 2 + 1
        image = torch.empty(1, image_tokens, vision.hidden_size, device="meta")
        query = torch.empty(1, self.query_tokens, config.qformer_config.hidden_size, device="meta")
        former = _count(lambda: self._twin.qformer(query_embeds=query, encoder_hidden_states=image))
        return former + _count(lambda: self._twin.language_projection(query))

    def _prefill(self, length: int) -> int:
        text = self._twin.config.text_config
        embeddings = torch.empty(1, length, text.hidden_size, device="meta")
        call: dict[str, Any] = {"logits_to_keep": 1}  # as `generate` does
        if text.is_encoder_decoder:
            call = {"decoder_input_ids": torch.zeros(1, 1, dtype=torch.long, device="meta")}
        return _count(lambda: self._twin.language_model(inputs_embeds=embeddings, **call))


def _weightless(model: nn.Module) -> Any:
    """The same architecture on the meta device, with eager attention: the counter knows every matrix product in it."""
    config = copy.deepcopy(model.config)
    with torch.device("meta"):
        return type(model)._from_config(config, attn_implementation="eager").eval().requires_grad_(False)  # type: ignore[attr-defined]


@torch.no_grad()
def _count(stage: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        stage()
    return int(counter.get_total_flops())
