"""LLaVA and VipLLaVA: tokens of an image encoder, projected one by one, in a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tokprune.adapters.embedmerge.towers import square
from tokprune.adapters.families.embedmerge import EmbedMergeAdapter
from tokprune.adapters.upstream import USED_LAYERS, USED_TOKENS


@dataclass(frozen=True)
class Llava(EmbedMergeAdapter):
    """LLaVA: image tokens leave in front of the language model, or inside.

    Signals of target "image": `tokens` (the projected vectors, as the language model gets them), `encoder_attention`
    (the image encoder's tokens vote for each other, in the layers up to the one whose output is used; [CLS] votes first
    and is protected), `text` (the prompt's embeddings) and `grid`. With an encoder other than CLIP and SigLIP there is
    neither `encoder_attention` nor `grid`.

    Inside, after so many layers of the language model as `after` says, or after layer 2 where a scorer needs
    `cross_attention`, the signals are `tokens` (the hidden states), `cross_attention` (the tokens of the text vote, the
    prompt's last one last, in the layers in front of the pruning point) and `text`. Kept tokens keep their positions
    there, whatever `positions` says. Refused: caches that do not just grow (static, quantised), assisted decoding,
    attention other than "sdpa" and "eager". The same holds for all models with image tokens in their prompt.
    """

    name: ClassVar[str] = "llava"
    module: ClassVar[str] = "transformers.models.llava.modeling_llava"
    model: ClassVar[str] = "LlavaForConditionalGeneration"

    arguments: ClassVar[tuple[str, ...]] = ("pixel_values", "vision_feature_layer", USED_TOKENS, "image_sizes")

    def grid(self, model: Any) -> tuple[int, int] | None:
        """Rows and columns of the image tokens; with [CLS] among them they form none."""
        return square(model.config.vision_config) if getattr(model.config, USED_TOKENS) == "default" else None


@dataclass(frozen=True)
class VipLlava(EmbedMergeAdapter):
    """VipLLaVA: LLaVA whose image tokens are made of several layers of the encoder.

    Signals of target "image" are LLaVA's; `encoder_attention` goes up to the last layer that is used.
    """

    name: ClassVar[str] = "vipllava"
    module: ClassVar[str] = "transformers.models.vipllava.modeling_vipllava"
    model: ClassVar[str] = "VipLlavaForConditionalGeneration"

    arguments: ClassVar[tuple[str, ...]] = ("pixel_values", *USED_LAYERS)
    protected: ClassVar[int] = 1

    def grid(self, model: Any) -> tuple[int, int]:
        """Rows and columns of the image tokens."""
        return square(model.config.vision_config)
