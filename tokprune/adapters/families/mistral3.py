"""Mistral 3: Pixtral's tokens of images of any shape, squares of them merged into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tokprune.adapters.embedfamily import EmbedFamily
from tokprune.adapters.families.embedmerge import EmbedMergeAdapter


@dataclass(frozen=True)
class Mistral3(EmbedMergeAdapter):
    """Mistral 3: image tokens leave in front of the language model.

    Every image has as many tokens as its shape asks for; images with equally many are pruned together, and a keep ratio
    is that of each image. Signals of target "image": `tokens` (the projected vectors, as the language model gets them)
    and `text`.
    """

    name: ClassVar[str] = "mistral3"
    module: ClassVar[str] = "transformers.models.mistral3.modeling_mistral3"
    model: ClassVar[str] = "Mistral3ForConditionalGeneration"

    def family(self, model: Any) -> EmbedFamily:
        """Module paths and sizes of one model."""
        return EmbedFamily(
            name=self.name,
            image_token_id=model.config.image_token_id,
            arguments=("pixel_values", "image_sizes", "vision_feature_layer"),
        )
