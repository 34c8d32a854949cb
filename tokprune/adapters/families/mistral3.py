"""Mistral 3: Pixtral's tokens of images of any shape, squares of them merged into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.embedmerge.packing import blocks
from tokprune.adapters.embedmerge.towers import used_layers
from tokprune.adapters.families.embedmerge import EmbedMergeAdapter
from tokprune.adapters.prompt.family import PromptFamily


@dataclass(frozen=True)
class Mistral3(EmbedMergeAdapter):
    """Mistral 3: image tokens leave in front of the language model.

    Every image has as many tokens as its shape asks for; images with equally many are pruned together, and a keep ratio
    is that of each image. Signals of target "image": `tokens` (the projected vectors, as the language model gets them),
    `encoder_attention` (Pixtral's tokens of one image vote for each other; a token gets the votes for all encoder
    tokens that it is merged of), `text` and `grid`.
    """

    name: ClassVar[str] = "mistral3"
    module: ClassVar[str] = "transformers.models.mistral3.modeling_mistral3"
    model: ClassVar[str] = "Mistral3ForConditionalGeneration"

    def family(self, model: Any) -> PromptFamily:
        """Module paths and sizes of one model."""
        config, layer = model.config, model.config.vision_feature_layer
        layers = used_layers(layer, config.vision_config.num_hidden_layers)
        found = find_attention(model, "model.vision_tower", layers=layers, packed=True)
        sources = {"encoder_attention": found} if config.vision_config.model_type == "pixtral" else {}
        merge, patch = config.spatial_merge_size, config.vision_config.patch_size
        return PromptFamily(
            name=self.name,
            image_token_id=config.image_token_id,
            arguments=("pixel_values", "image_sizes", "vision_feature_layer"),
            sources=sources,
            fixed={"vision_feature_layer": layer},
            places=partial(_places, patch, merge) if sources else None,
            grids=partial(_grids, patch * merge),
        )


def _sizes(arguments: Mapping[str, Any], unit: int) -> list[tuple[int, int]]:
    return [(int(height) // unit, int(width) // unit) for height, width in arguments["image_sizes"]]


def _grids(unit: int, arguments: Mapping[str, Any]) -> list[tuple[int, int]]:
    return _sizes(arguments, unit)


def _places(
    patch: int, merge: int, base: nn.Module, arguments: Mapping[str, Any], counts: Sequence[int]
) -> list[Tensor]:
    found, begin = [], 0
    for rows, columns in _sizes(arguments, patch):
        found.append(begin + blocks(rows, columns, merge))
        begin += rows * columns
    return found
