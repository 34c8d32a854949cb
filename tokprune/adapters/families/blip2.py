"""BLIP-2: query tokens between the Q-Former and the language model, image tokens inside the image encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tokprune.adapters.families.qformer import QFormerAdapter


@dataclass(frozen=True)
class Blip2(QFormerAdapter):
    """BLIP-2 with OPT, T5 or Flan-T5: query tokens leave in front of the language model, image tokens in the encoder.

    Signals of target "query": `tokens` (Q-Former outputs before the projection), `cross_attention` (image tokens,
    [CLS] included, vote for query tokens), `self_attention` (query tokens vote for each other), `encoder_attention`
    (image tokens vote for each other) and `text`.

    Signals of target "image", all taken where the encoder is cut: `tokens` (the layer's output), `encoder_attention`
    and `self_attention` (image tokens and [CLS] vote for image tokens, in the layers since the last cut) and `grid`.
    [CLS] is protected.
    """

    name: ClassVar[str] = "blip2"
    module: ClassVar[str] = "transformers.models.blip_2.modeling_blip_2"
    models: ClassVar[tuple[str, ...]] = ("Blip2ForConditionalGeneration", "Blip2Model")
