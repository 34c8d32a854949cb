"""InternVL and Aya Vision: squares of an encoder's tokens joined into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from tokprune.adapters.embedmerge.packing import every_image_alike, shuffled
from tokprune.adapters.embedmerge.towers import square
from tokprune.adapters.families.embedmerge import EmbedMergeAdapter
from tokprune.adapters.upstream import USED_TOKENS


class ShuffledAdapter(EmbedMergeAdapter):
    """Image tokens, each made of a square of encoder tokens, leave in front of the language model."""

    arguments: ClassVar[tuple[str, ...]] = ("pixel_values", "vision_feature_layer", USED_TOKENS)

    def factor(self, model: Any) -> int:
        """How many encoder tokens the square has along a side."""
        raise NotImplementedError

    def shuffle(self, base: Any, index: Tensor) -> Tensor:
        """The model's own joining of vectors `[1 token dim]`."""
        raise NotImplementedError

    def grid(self, model: Any) -> tuple[int, int]:
        """Rows and columns of the image tokens."""
        rows, columns = square(model.config.vision_config)
        return rows // self.factor(model.config), columns // self.factor(model.config)

    def places(self, base: nn.Module, arguments: Mapping[str, Any], counts: Sequence[int]) -> list[Tensor]:
        """Of which of the encoder's tokens each image's tokens are made."""
        own: Any = base
        block = shuffled(lambda index: self.shuffle(base, index), counts[0] * self.factor(own.config) ** 2)
        return every_image_alike(block, len(counts))


@dataclass(frozen=True)
class InternVl(ShuffledAdapter):
    """InternVL: image tokens leave in front of the language model.

    Every tile of an image counts as an image. Signals of target "image": `tokens` (the projected vectors, as the
    language model gets them), `encoder_attention` (the encoder's tokens vote for each other, [CLS] first, which is
    protected; a token gets the votes for all encoder tokens that it is made of), `text` and `grid`.
    """

    name: ClassVar[str] = "internvl"
    module: ClassVar[str] = "transformers.models.internvl.modeling_internvl"
    model: ClassVar[str] = "InternVLForConditionalGeneration"

    def factor(self, model: Any) -> int:
        """How many encoder tokens the square has along a side."""
        ratio: float = model.downsample_ratio
        return round(1 / ratio)

    def shuffle(self, base: Any, index: Tensor) -> Tensor:
        """The model's own joining of vectors `[1 token dim]`."""
        side = int(index.shape[1] ** 0.5)
        joined: Tensor = base.pixel_shuffle(index.view(1, side, side, 1), scale_factor=base.config.downsample_ratio)
        return joined


@dataclass(frozen=True)
class AyaVision(ShuffledAdapter):
    """Aya Vision: image tokens leave in front of the language model.

    Tiles and signals are those of InternVL; SigLIP has no [CLS]. Hiding (reduction "mask") is refused, for hidden
    tokens would take up room in the sliding window.
    """

    name: ClassVar[str] = "aya-vision"
    module: ClassVar[str] = "transformers.models.aya_vision.modeling_aya_vision"
    model: ClassVar[str] = "AyaVisionForConditionalGeneration"

    def factor(self, model: Any) -> int:
        """How many encoder tokens the square has along a side."""
        return int(model.downsample_factor)

    def shuffle(self, base: Any, index: Tensor) -> Tensor:
        """The model's own joining of vectors `[1 token dim]`."""
        joined: Tensor = base.multi_modal_projector.pixel_shuffle(index)
        return joined
