"""LLaVA-NeXT and LLaVA-OneVision: an image as a whole and in tiles, as many as fit its shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from tokprune.adapters.embedmerge.packing import packing_options, tiled
from tokprune.adapters.families.embedmerge import EmbedMergeAdapter
from tokprune.adapters.upstream import USED_TOKENS

_ARGUMENTS = ("pixel_values", "image_sizes", "vision_feature_layer", USED_TOKENS)


class TilesAdapter(EmbedMergeAdapter):
    """Image tokens, tiles and newlines together, leave in front of the language model."""

    packing: ClassVar[tuple[str, ...]]
    """Names of the arguments by which tiles are packed."""

    def places(self, base: nn.Module, arguments: Mapping[str, Any], counts: Sequence[int]) -> list[Tensor]:
        """Of which of the encoder's tokens each image's tokens are made."""
        return tiled(base, arguments, packing_options(base, arguments, self.packing))


@dataclass(frozen=True)
class LlavaNext(TilesAdapter):
    """LLaVA-NeXT: image tokens of the whole image and of its tiles leave in front of the language model.

    Every image has as many tokens as its shape asks for, without padding; images with equally many are pruned
    together, and a keep ratio is that of each image. Tiles end in newline tokens, which are tokens like others.

    Signals of target "image": `tokens` (the projected vectors, newlines included), `encoder_attention` (within each
    tile, up to the layer whose output is used; the [CLS] of all tiles vote first, as one voter; a newline gets no vote
    and so leaves first) and `text`.
    """

    name: ClassVar[str] = "llava-next"
    module: ClassVar[str] = "transformers.models.llava_next.modeling_llava_next"
    model: ClassVar[str] = "LlavaNextForConditionalGeneration"
    arguments: ClassVar[tuple[str, ...]] = (*_ARGUMENTS, "batch_num_images")
    packing: ClassVar[tuple[str, ...]] = (USED_TOKENS,)


@dataclass(frozen=True)
class LlavaOnevision(TilesAdapter):
    """LLaVA-OneVision: image tokens of the whole image and of its tiles leave in front of the language model.

    Signals of target "image" are those of LLaVA-NeXT; SigLIP has no [CLS]. Where tiles are scaled down, a token has the
    votes of the nearest of the tokens that it is made of. Tokens of videos stay.
    """

    name: ClassVar[str] = "llava-onevision"
    module: ClassVar[str] = "transformers.models.llava_onevision.modeling_llava_onevision"
    model: ClassVar[str] = "LlavaOnevisionForConditionalGeneration"
    arguments: ClassVar[tuple[str, ...]] = (*_ARGUMENTS, "vision_aspect_ratio", "batch_num_images")
    packing: ClassVar[tuple[str, ...]] = ("vision_aspect_ratio",)
