"""InstructBLIP: built like BLIP-2, with a Q-Former that reads the question beside the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tokprune.adapters.families.qformer import QFormerAdapter


@dataclass(frozen=True)
class InstructBlip(QFormerAdapter):
    """InstructBLIP with Vicuna or Flan-T5: BLIP-2's targets, and a Q-Former that reads the question as well.

    Signals of target "query": `tokens` (Q-Former outputs of the query tokens before the projection), `cross_attention`
    (image tokens, [CLS] included, vote for query tokens; the question reaches no cross-attention), `self_attention`
    (query tokens and the question's tokens vote for query tokens; padding of the question is no voter),
    `encoder_attention` (image tokens vote for each other) and `text`. So other questions may keep other tokens.

    Signals of target "image" are BLIP-2's: see `Blip2`.
    """

    name: ClassVar[str] = "instructblip"
    module: ClassVar[str] = "transformers.models.instructblip.modeling_instructblip"
    models: ClassVar[tuple[str, ...]] = ("InstructBlipForConditionalGeneration",)
    asks: ClassVar[bool] = True
