"""BLIP-2: query tokens between the Q-Former and the language model, image tokens inside the image encoder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from tokprune.adapters.delegated import DelegatedCut
from tokprune.adapters.encoder import EncoderFamily
from tokprune.adapters.family import DelegatedFamily
from tokprune.adapters.layercut import ENCODER_SIGNALS, LayerCut
from tokprune.adapters.sources import AttentionSource
from tokprune.errors import AdapterError
from tokprune.interfaces import Attachment, Cut, Observed


@dataclass(frozen=True)
class Blip2:
    """BLIP-2 with OPT, T5 or Flan-T5: query tokens leave in front of the language model, image tokens in the encoder.

    Signals of target "query": `tokens` (Q-Former outputs before the projection), `cross_attention` (image tokens,
    [CLS] included, vote for query tokens), `self_attention` (query tokens vote for each other), `encoder_attention`
    (image tokens vote for each other) and `text`.

    Signals of target "image", all taken where the encoder is cut: `tokens` (the layer's output), `encoder_attention`
    and `self_attention` (image tokens and [CLS] vote for image tokens, in the layers since the last cut) and `grid`.
    [CLS] is protected.
    """

    def matches(self, model: nn.Module) -> bool:
        """Whether `model` is a `Blip2ForConditionalGeneration`."""
        # A model of a library that was never imported cannot exist, so there is no need to import it here.
        module = sys.modules.get("transformers.models.blip_2.modeling_blip_2")
        return module is not None and isinstance(model, module.Blip2ForConditionalGeneration)

    def offers(self, model: nn.Module) -> Mapping[str, tuple[str, ...]]:
        """Targets and their signals."""
        query = ("tokens", "cross_attention", "self_attention", "encoder_attention", "text")
        return {"query": query, "image": ENCODER_SIGNALS}

    def attach(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Cut the query tokens where the language model takes over, the image tokens between the encoder's layers."""
        if cut.target == "image":
            return LayerCut(model, blip2_encoder(model), cut, done, owner)
        if cut.target == "query":
            return DelegatedCut(model, blip2_family(model), cut, done, owner)
        raise AdapterError(f"adapter 'blip2' has no target {cut.target!r}; its targets: 'query', 'image'")


def blip2_family(model: nn.Module) -> DelegatedFamily:
    """Module paths and sizes of one BLIP-2."""
    config: Any = model.config
    qformer, vision = config.qformer_config, config.vision_config
    heads = qformer.num_attention_heads
    scale = (qformer.hidden_size // heads) ** -0.5

    def projections(prefix: str) -> tuple[tuple[str, str], ...]:
        return (f"{prefix}.attention.query", "query"), (f"{prefix}.attention.key", "key")

    crossing = [i for i in range(qformer.num_hidden_layers) if i % qformer.cross_attention_frequency == 0]
    cross_attention = [
        AttentionSource(
            "cross_attention",
            order,
            projections(f"qformer.encoder.layer.{index}.crossattention"),
            heads,
            scale,
            candidates="query",
        )
        for order, index in enumerate(crossing)
    ]
    self_attention = [
        AttentionSource(
            "self_attention",
            index,
            projections(f"qformer.encoder.layer.{index}.attention"),
            heads,
            scale,
            candidates="key",
        )
        for index in range(qformer.num_hidden_layers)
    ]
    return DelegatedFamily(
        name="blip2",
        sources={
            "cross_attention": cross_attention,
            "self_attention": self_attention,
            "encoder_attention": encoder_attention(vision),
        },
        vectors="language_projection",
        language_model="language_model",
        query_tokens=config.num_query_tokens,
        image_argument="pixel_values",
        image_token_id=config.image_token_id,
    )


def blip2_encoder(model: nn.Module) -> EncoderFamily:
    """Module paths and sizes of the image encoder of one BLIP-2."""
    config: Any = model.config
    vision = config.vision_config
    return EncoderFamily(
        name="blip2",
        encoder="vision_model",
        layers=[f"vision_model.encoder.layers.{index}" for index in range(vision.num_hidden_layers)],
        attention=encoder_attention(vision),
        protected=1,
        patch_size=vision.patch_size,
        reader="qformer",
    )


def encoder_attention(vision: Any) -> list[AttentionSource]:
    """The self-attention of the image encoder, layer by layer."""
    return [
        AttentionSource(
            "encoder_attention",
            index,
            ((f"vision_model.encoder.layers.{index}.self_attn.qkv", "query key value"),),
            vision.num_attention_heads,
            (vision.hidden_size // vision.num_attention_heads) ** -0.5,
            candidates="key",
        )
        for index in range(vision.num_hidden_layers)
    ]
