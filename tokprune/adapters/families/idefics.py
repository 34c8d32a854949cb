"""Idefics, the first one: gated cross-attention in front of Llama's layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.crossing.family import CrossFamily, Crossing
from tokprune.adapters.families.crossattention import CrossAttentionAdapter, encoder_attention
from tokprune.adapters.sources import AttentionSource


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
        config, vision = outer.config, outer.config.vision_config
        projections = ("q_layer_norm", "k_layer_norm") if config.qk_layer_norms else ("q_proj", "k_proj")
        heads, crossings = config.num_attention_heads, []
        for index in range(len(outer.model.gated_cross_attn_layers)):
            path = f"model.gated_cross_attn_layers.{index}.cross_attn"
            modules = tuple((f"{path}.{name}", part) for name, part in zip(projections, ("query", "key"), strict=True))
            source = AttentionSource(
                "cross_attention", index, modules, heads, (config.hidden_size // heads) ** -0.5, "key"
            )
            crossings.append(Crossing(path, "key_value_states", "attention_mask", source))
        common: dict[str, Any] = {
            "name": self.name,
            "decoder": "model",
            "crossings": crossings,
            "images": "image_attention_mask",
            "caches": False,
        }
        if config.use_resampler:
            return CrossFamily(**common, encoder="model.perceiver_resampler", given=("perceiver_embeddings",))
        return CrossFamily(
            **common,
            encoder="model.vision_model",
            given=("image_encoder_embeddings",),
            attention=encoder_attention(
                "model.vision_model.encoder.layers.{}.self_attn",
                vision.num_hidden_layers,
                vision.num_attention_heads,
                vision.embed_dim,
                {"q_proj": "query", "k_proj": "key"},
            ),
            protected=1,
            patch_size=vision.patch_size,
        )
