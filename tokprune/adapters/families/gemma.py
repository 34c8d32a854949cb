"""PaliGemma and Gemma 3: SigLIP's tokens, which see each other in both directions inside the language model too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from tokprune.adapters.embedmerge.packing import blocks, every_image_alike
from tokprune.adapters.embedmerge.towers import square
from tokprune.adapters.families.embedmerge import EmbedMergeAdapter


@dataclass(frozen=True)
class PaliGemma(EmbedMergeAdapter):
    """PaliGemma: image tokens leave in front of the language model; what sees both ways there becomes shorter.

    Signals of target "image": `tokens` (the projected vectors, as the language model gets them), `encoder_attention`
    (SigLIP's tokens vote for each other), `text` and `grid`.
    """

    name: ClassVar[str] = "paligemma"
    module: ClassVar[str] = "transformers.models.paligemma.modeling_paligemma"
    model: ClassVar[str] = "PaliGemmaForConditionalGeneration"

    first_position: ClassVar[int] = 1

    def grid(self, model: Any) -> tuple[int, int]:
        """Rows and columns of the image tokens."""
        return square(model.config.vision_config)


@dataclass(frozen=True)
class Gemma3(EmbedMergeAdapter):
    """Gemma 3: image tokens leave in front of the language model; the block in which they see each other shrinks.

    Signals of target "image": `tokens` (the projected vectors, as the language model gets them), `encoder_attention`
    (SigLIP's tokens vote for each other; a token gets the votes for all encoder tokens that it is the mean of), `text`
    and `grid`. Hiding (reduction "mask") is refused, for hidden tokens would take up room in the sliding window.
    """

    name: ClassVar[str] = "gemma3"
    module: ClassVar[str] = "transformers.models.gemma3.modeling_gemma3"
    model: ClassVar[str] = "Gemma3ForConditionalGeneration"

    def grid(self, model: Any) -> tuple[int, int]:
        """Rows and columns of the image tokens."""
        side = int(model.config.mm_tokens_per_image**0.5)
        return side, side

    def places(self, base: nn.Module, arguments: Mapping[str, Any], counts: Sequence[int]) -> list[Tensor]:
        """Of which of the encoder's tokens each image's tokens are made."""
        projector: Any = base.get_submodule("multi_modal_projector")
        side = projector.patches_per_image
        return every_image_alike(blocks(side, side, projector.kernel_size), len(counts))
