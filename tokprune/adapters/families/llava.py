"""LLaVA: tokens of an image encoder, projected, in a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tokprune.adapters.embedfamily import EmbedFamily
from tokprune.adapters.families.embedmerge import EmbedMergeAdapter
from tokprune.adapters.towers import tower_attention, used_layers


@dataclass(frozen=True)
class Llava(EmbedMergeAdapter):
    """LLaVA: image tokens leave in front of the language model, or inside.

    Signals of target "image": `tokens` (the projected vectors, as the language model gets them), `encoder_attention`
    (the image encoder's tokens vote for each other, in the layers up to the one whose output is used; [CLS] votes first
    and is protected), `text` (the prompt's embeddings) and `grid`. With an encoder other than CLIP and SigLIP there is
    no `encoder_attention`.

    Inside, behind so many layers of the language model as `after` says, or behind layer 2 where a scorer needs
    `cross_attention`, the signals are `tokens` (the hidden states), `cross_attention` (the tokens of the text vote, the
    prompt's last one last, in the layers in front of the cut) and `text`. Kept tokens keep their positions there,
    whatever `positions` says. Refused: caches that do not just grow (static, quantised), assisted decoding, attention
    other than "sdpa" and "eager", windowed language models, several places.
    """

    name: ClassVar[str] = "llava"
    module: ClassVar[str] = "transformers.models.llava.modeling_llava"
    model: ClassVar[str] = "LlavaForConditionalGeneration"
    inside: ClassVar[bool] = True

    def family(self, model: Any) -> EmbedFamily:
        """Module paths and sizes of one model."""
        config = model.config
        vision, layer, strategy = (
            config.vision_config,
            config.vision_feature_layer,
            config.vision_feature_select_strategy,
        )
        cropped = int(strategy == "default")
        layers = used_layers(layer, vision.num_hidden_layers)
        attention = tower_attention(model, "model.vision_tower", vision, layers, cropped)
        side = vision.image_size // vision.patch_size
        return EmbedFamily(
            name=self.name,
            image_token_id=config.image_token_id,
            arguments=("pixel_values", "vision_feature_layer", "vision_feature_select_strategy", "image_sizes"),
            sources={} if attention is None else {"encoder_attention": attention},
            fixed={"vision_feature_layer": layer, "vision_feature_select_strategy": strategy},
            grid=(side, side) if attention is not None else None,
        )
