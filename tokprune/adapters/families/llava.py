"""LLaVA and VipLLaVA: tokens of an image encoder, projected one by one, in a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tokprune.adapters.embedmerge.towers import square, tower_attention, used_layers
from tokprune.adapters.families.embedmerge import EmbedMergeAdapter
from tokprune.adapters.prompt.family import PromptFamily


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

    def family(self, model: Any) -> PromptFamily:
        """Module paths and sizes of one model."""
        config, vision = model.config, model.config.vision_config
        layer, strategy = config.vision_feature_layer, config.vision_feature_select_strategy
        layers = used_layers(layer, vision.num_hidden_layers)
        attention = tower_attention(model, "model.vision_tower", vision, layers, int(strategy == "default"))
        return PromptFamily(
            name=self.name,
            image_token_id=config.image_token_id,
            arguments=("pixel_values", "vision_feature_layer", "vision_feature_select_strategy", "image_sizes"),
            sources=attention,
            fixed={"vision_feature_layer": layer, "vision_feature_select_strategy": strategy},
            grid=square(vision) if attention and strategy == "default" else None,
        )


@dataclass(frozen=True)
class VipLlava(EmbedMergeAdapter):
    """VipLLaVA: LLaVA whose image tokens are made of several layers of the encoder.

    Signals of target "image" are LLaVA's; `encoder_attention` goes up to the last layer that is used.
    """

    name: ClassVar[str] = "vipllava"
    module: ClassVar[str] = "transformers.models.vipllava.modeling_vipllava"
    model: ClassVar[str] = "VipLlavaForConditionalGeneration"

    def family(self, model: Any) -> PromptFamily:
        """Module paths and sizes of one model."""
        config, vision = model.config, model.config.vision_config
        names = ("vision_feature_layers", "vision_feature_layer")  # differs from release to release
        chosen = next(getattr(config, name) for name in names if hasattr(config, name))
        layers = used_layers(chosen, vision.num_hidden_layers)
        attention = tower_attention(model, "model.vision_tower", vision, layers, 1)
        return PromptFamily(
            name=self.name,
            image_token_id=config.image_token_id,
            arguments=("pixel_values", *names),
            sources=attention,
            fixed=dict.fromkeys(names, chosen),
            grid=square(vision) if attention else None,
        )
