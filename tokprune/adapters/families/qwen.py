"""The Qwen-VL family: images of any size, four of the encoder's tokens in one, positions by row and column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tokprune.adapters.embedfamily import EmbedFamily
from tokprune.adapters.families.embedmerge import EmbedMergeAdapter


class QwenVL(EmbedMergeAdapter):
    """What the models of the family have in common."""

    def family(self, model: Any) -> EmbedFamily:
        """Module paths and sizes of one model."""
        config = model.config
        return EmbedFamily(
            name=self.name,
            image_token_id=config.image_token_id,
            arguments=("pixel_values", "image_grid_thw"),
            rotary=True,
            others=(config.video_token_id,),
        )


@dataclass(frozen=True)
class Qwen2VL(QwenVL):
    name: ClassVar[str] = "qwen2-vl"
    module: ClassVar[str] = "transformers.models.qwen2_vl.modeling_qwen2_vl"
    model: ClassVar[str] = "Qwen2VLForConditionalGeneration"


@dataclass(frozen=True)
class Qwen25VL(QwenVL):
    name: ClassVar[str] = "qwen2-5-vl"
    module: ClassVar[str] = "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl"
    model: ClassVar[str] = "Qwen2_5_VLForConditionalGeneration"


@dataclass(frozen=True)
class Qwen3VL(QwenVL):
    name: ClassVar[str] = "qwen3-vl"
    module: ClassVar[str] = "transformers.models.qwen3_vl.modeling_qwen3_vl"
    model: ClassVar[str] = "Qwen3VLForConditionalGeneration"
