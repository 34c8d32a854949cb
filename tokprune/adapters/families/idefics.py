"""Idefics, the first one: gated cross-attention in front of Llama's layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.crossing.family import CrossFamily, find_crossings
from tokprune.adapters.families.crossattention import CrossAttentionAdapter


@dataclass(frozen=True)
class Idefics(CrossAttentionAdapter):
    """Idefics, the first one, with or without its perceiver resampler: image tokens leave in front of the decoder.

    Signals of target "image" without a resampler: `tokens` (the encoder's output), `encoder_attention` and
    `self_attention` (image tokens and [CLS] vote for image tokens, layer by layer), `grid` and `cross_attention` (text
    tokens that see an image vote for its tokens). [CLS] is protected. With a resampler its latents are the image
    tokens, of which none is protected: `tokens` and `cross_attention`.

    Embeddings of images that were computed earlier are refused, unless this model computed them as it is now.
    """

    name: ClassVar[str] = "idefics"
    models: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "transformers.models.idefics.modeling_idefics": ("IdeficsForVisionText2Text",)
    }

    def family(self, model: nn.Module) -> CrossFamily:
        """Where the parts of `model` are."""
        outer: Any = model
        common: dict[str, Any] = {
            "name": self.name,
            "decoder": "model",
            "crossings": find_crossings(model, "model.gated_cross_attn_layers"),
            "images": "image_attention_mask",
            "caches": False,
        }
        if outer.config.use_resampler:
            return CrossFamily(**common, encoder="model.perceiver_resampler", given=("perceiver_embeddings",))
        return CrossFamily(
            **common,
            encoder="model.vision_model",
            given=("image_encoder_embeddings",),
            attention=find_attention(model, "model.vision_model"),
            protected=1,
            patch_size=outer.config.vision_config.patch_size,
        )
