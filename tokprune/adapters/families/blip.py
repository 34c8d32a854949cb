"""BLIP: captions, and answers to questions about an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.crossing.family import CrossFamily, find_crossings
from tokprune.adapters.families.crossattention import CrossAttentionAdapter

_MODULE = "transformers.models.blip.modeling_blip"


@dataclass(frozen=True)
class Blip(CrossAttentionAdapter):
    """BLIP for captions and for visual question answering: image tokens leave behind the image encoder.

    Who reads the image is the text decoder where captions are written, and the question's encoder where questions are
    answered.

    Signals of target "image": `tokens` (the encoder's output), `encoder_attention` and `self_attention` (image tokens
    and [CLS] vote for image tokens, layer by layer), `grid` and `cross_attention` (the text's tokens vote for image
    tokens; its padding does not). [CLS] is protected.
    """

    name: ClassVar[str] = "blip"
    models: ClassVar[Mapping[str, tuple[str, ...]]] = {
        _MODULE: ("BlipForConditionalGeneration", "BlipForQuestionAnswering")
    }

    def family(self, model: nn.Module) -> CrossFamily:
        """Where the parts of `model` are."""
        outer: Any = model
        vision = outer.config.vision_config
        decoder = "text_encoder" if hasattr(model, "text_encoder") else "text_decoder"
        return CrossFamily(
            name=self.name,
            encoder="vision_model",
            decoder=decoder,
            crossings=find_crossings(model, decoder),
            attention=find_attention(model, "vision_model"),
            protected=1,
            given=(),
            caches=decoder == "text_decoder",  # the question's encoder runs once
            patch_size=vision.patch_size,
        )
