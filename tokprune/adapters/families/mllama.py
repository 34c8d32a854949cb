"""Mllama: the keys and values of the gated cross-attention between Llama's layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.crossing.family import CrossFamily, find_crossings
from tokprune.adapters.families.crossattention import CrossAttentionAdapter


@dataclass(frozen=True)
class Mllama(CrossAttentionAdapter):
    """Mllama (Llama 3.2 Vision): the image tokens of each tile leave in front of the language model, or inside of it.

    An image of the report is a tile, in the order in which the encoder sees them; a prompt may have several images.
    Tiles that are padding keep as many tokens as others, and nobody sees them, as before.

    Signals of target "image": `tokens` (image tokens as the cross-attention reads them), `cross_attention` (text tokens
    that see an image vote for its tokens, by queries and keys behind their norms), `encoder_attention` and
    `self_attention` (image tokens and [CLS] of all tiles of an image vote, layer by layer of the local encoder) and
    `grid`. The [CLS] of each tile is protected.

    A static cache is refused (it holds room for all image tokens), and so are assisted decoding and new images in the
    middle of a generation.
    """

    name: ClassVar[str] = "mllama"
    models: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "transformers.models.mllama.modeling_mllama": ("MllamaForConditionalGeneration",)
    }

    def family(self, model: nn.Module) -> CrossFamily:
        """Where the parts of `model` are."""
        outer: Any = model
        return CrossFamily(
            name=self.name,
            encoder="model.vision_model",
            decoder="model.language_model",
            crossings=find_crossings(model, "model.language_model"),
            attention=find_attention(model, "model.vision_model.transformer"),
            protected=1,
            patch_size=outer.config.vision_config.patch_size,
            tiles="aspect_ratio_mask",
            gate="full_text_row_masked_out_mask",
            once=True,
            masked=True,
        )
