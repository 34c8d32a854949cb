"""VisionEncoderDecoderModel: any image encoder in front of any language model with cross-attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.crossing.family import CrossFamily, find_crossings
from tokprune.adapters.families.crossattention import CrossAttentionAdapter
from tokprune.errors import AdapterError

_ENCODERS = {
    "vit": (1, True),
    "deit": (2, True),
    "dinov2": (1, True),
    "beit": (1, False),
    "donut-swin": (0, False),
    "swin": (0, False),
}
"""Type of encoder -> how many tokens at its front are no image tokens, and whether its attention can vote: not where
something is added to the products of queries and keys, or where tokens see only some others."""


@dataclass(frozen=True)
class VisionEncoderDecoder(CrossAttentionAdapter):
    """VisionEncoderDecoderModel (TrOCR, Donut, ViT with GPT-2, ...): image tokens leave behind the image encoder.

    Encoders: ViT, DeiT, DINOv2, BEiT, Swin and Donut's. Decoders: those of the families of GPT-2, BERT and BART, and
    TrOCR's.

    Signals of target "image": `tokens` (the encoder's output), `cross_attention` (the text's tokens vote for image
    tokens) and, for ViT, DeiT and DINOv2, `encoder_attention`, `self_attention` (image tokens and [CLS] vote for image
    tokens, layer by layer) and `grid`. [CLS] and DeiT's distillation token are protected. BEiT adds a bias to its
    attention and Swin's stays within windows, so there is none to vote by.
    """

    name: ClassVar[str] = "vision-encoder-decoder"
    models: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "transformers.models.vision_encoder_decoder.modeling_vision_encoder_decoder": ("VisionEncoderDecoderModel",)
    }

    def family(self, model: nn.Module) -> CrossFamily:
        """Where the parts of `model` are."""
        outer: Any = model
        config = outer.encoder.config
        if config.model_type not in _ENCODERS:
            raise AdapterError(
                f"adapter {self.name!r}: which tokens of an encoder of type {config.model_type!r} are image tokens is "
                f"not known here; known are: {', '.join(sorted(_ENCODERS))}"
            )
        protected, votes = _ENCODERS[config.model_type]
        return CrossFamily(
            name=self.name,
            encoder="encoder",
            decoder="decoder",
            crossings=find_crossings(model, "decoder"),
            attention=find_attention(model, "encoder") if votes else (),
            protected=protected,
            patch_size=config.patch_size if votes else None,
        )
