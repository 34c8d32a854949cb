"""VisionEncoderDecoderModel: any image encoder in front of any language model with cross-attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.crossing.family import CrossFamily, find_crossings
from tokprune.adapters.families.crossattention import CrossAttentionAdapter, encoder_attention
from tokprune.adapters.modules import first_path
from tokprune.adapters.sources import AttentionSource
from tokprune.errors import AdapterError

_PROJECTIONS = (("q_proj", "attention.query", "query"), ("k_proj", "attention.key", "key"))  # older DINOv2s the second
# Type of encoder -> how many tokens at its front are no image tokens, and where its attention is: None where something
# is added to the products of queries and keys, or where only some tokens look at each other.
_ENCODERS: Mapping[str, tuple[Callable[[Any], int], str | None]] = {
    "vit": (lambda config: 1, "layers.{}.attention"),
    "deit": (lambda config: 2, "layers.{}.attention"),
    "dinov2": (lambda config: 1, "encoder.layer.{}.attention"),
    "beit": (lambda config: 1, None),
    "donut-swin": (lambda config: 0, None),
    "swin": (lambda config: 0, None),
}


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
        count, attention = _ENCODERS[config.model_type]
        protected = count(config)
        found: list[AttentionSource] = []
        if attention is not None:
            first = f"encoder.{attention.format(0)}"
            projections = {
                first_path(model, f"{first}.{new}", f"{first}.{old}").removeprefix(f"{first}."): part
                for new, old, part in _PROJECTIONS
            }
            found = encoder_attention(
                f"encoder.{attention}",
                config.num_hidden_layers,
                config.num_attention_heads,
                config.hidden_size,
                projections,
            )
        return CrossFamily(
            name=self.name,
            encoder="encoder",
            decoder="decoder",
            crossings=find_crossings(model, "decoder"),
            attention=found,
            protected=protected,
            patch_size=config.patch_size if attention is not None else None,
        )
