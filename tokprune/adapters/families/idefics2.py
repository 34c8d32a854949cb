"""Idefics2, Idefics3 and SmolVLM: images in tiles, resampled or shuffled into fewer tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.embedmerge.packing import every_image_alike, shuffled
from tokprune.adapters.embedmerge.towers import square
from tokprune.adapters.families.embedmerge import EmbedMergeAdapter
from tokprune.adapters.prompt.family import PromptFamily

_ARGUMENTS = ("pixel_values", "pixel_attention_mask")


@dataclass(frozen=True)
class Idefics2(EmbedMergeAdapter):
    """Idefics2: the resampler's query tokens leave in front of the language model.

    Every tile of an image counts as an image. Signals of target "image": `tokens` (the resampler's output, as the
    language model gets it), `cross_attention` (the encoder's tokens vote for query tokens in the resampler's layers,
    padding left out; what query tokens give each other there is no vote) and `text`.
    """

    name: ClassVar[str] = "idefics2"
    module: ClassVar[str] = "transformers.models.idefics2.modeling_idefics2"
    model: ClassVar[str] = "Idefics2ForConditionalGeneration"
    default_scorers: ClassVar[Mapping[str, str]] = {"image": "focus"}
    """As for a Q-Former's query tokens, which the resampler's are built like; not measured on this model."""

    def family(self, model: Any) -> PromptFamily:
        """Module paths and sizes of one model."""
        config, resampler = model.config, model.config.perceiver_config
        path = "model.connector.perceiver_resampler"
        sources = find_attention(model, path, "cross_attention", "query", padded=True, own_keys=True)
        return PromptFamily(
            name=self.name,
            image_token_id=config.image_token_id,
            arguments=_ARGUMENTS,
            sources={"cross_attention": sources},
            language_model="model.text_model",
            tokens_per_image=resampler.resampler_n_latents,
        )


class ShuffledTilesAdapter(EmbedMergeAdapter):
    """Image tokens, each made of a square of encoder tokens, leave in front of the language model."""

    arguments: ClassVar[tuple[str, ...]] = _ARGUMENTS
    tower: ClassVar[str] = "model.vision_model"
    language_model: ClassVar[str] = "model.text_model"
    padded: ClassVar[bool] = True

    def family(self, model: Any) -> PromptFamily:
        """Module paths and sizes of one model."""
        rows, columns = self.grid(model)
        return replace(super().family(model), tokens_per_image=rows * columns)

    def grid(self, model: Any) -> tuple[int, int]:
        """Rows and columns of the image tokens."""
        rows, columns = square(model.config.vision_config)
        return rows // model.config.scale_factor, columns // model.config.scale_factor

    def places(self, base: nn.Module, arguments: Mapping[str, Any], counts: Sequence[int]) -> list[Tensor]:
        """Of which of the encoder's tokens each image's tokens are made."""
        connector: Any = base.get_submodule("connector")
        factor = connector.scale_factor
        block = shuffled(lambda index: connector.pixel_shuffle(index, factor), counts[0] * factor**2)
        return every_image_alike(block, len(counts))


@dataclass(frozen=True)
class Idefics3(ShuffledTilesAdapter):
    """Idefics3: image tokens leave in front of the language model.

    Every tile of an image counts as an image. Signals of target "image": `tokens` (the connector's output, as the
    language model gets it), `encoder_attention` (the encoder's tokens vote for each other; a token gets the votes for
    all encoder tokens that it is made of; padding neither votes nor gets votes), `text` and `grid`.
    """

    name: ClassVar[str] = "idefics3"
    module: ClassVar[str] = "transformers.models.idefics3.modeling_idefics3"
    model: ClassVar[str] = "Idefics3ForConditionalGeneration"


@dataclass(frozen=True)
class SmolVlm(ShuffledTilesAdapter):
    """SmolVLM: image tokens leave in front of the language model.

    Tiles and signals are those of Idefics3.
    """

    name: ClassVar[str] = "smolvlm"
    module: ClassVar[str] = "transformers.models.smolvlm.modeling_smolvlm"
    model: ClassVar[str] = "SmolVLMForConditionalGeneration"
