"""The Qwen-VL family: images of any size, several of the encoder's tokens in one, positions by row and column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.families.embedmerge import EmbedMergeAdapter
from tokprune.adapters.prompt.family import PromptFamily


class QwenVL(EmbedMergeAdapter):
    """What the models of the family have in common."""

    def family(self, model: Any) -> PromptFamily:
        """Module paths and sizes of one model."""
        config, vision = model.config, model.config.vision_config
        merge: int = vision.spatial_merge_size
        return PromptFamily(
            name=self.name,
            image_token_id=config.image_token_id,
            arguments=("pixel_values", "image_grid_thw"),
            sources={"encoder_attention": find_attention(model, "model.visual", packed=True)},
            places=partial(_places, merge, self.window(vision)),
            rotary=True,
            others=(config.video_token_id,),
            grids=partial(_grids, merge),
        )

    def window(self, vision: Any) -> int | None:
        """How many image tokens the side of a window in the encoder has; None if it has no windows."""
        return None


@dataclass(frozen=True)
class Qwen2VL(QwenVL):
    """Qwen2-VL: image tokens leave in front of the language model.

    Kept tokens keep their rotary positions, which are rows and columns of their image, and the text behind an image
    stays where it was, whatever `positions` says; only in a prompt that comes without `mm_token_type_ids`, where the
    model itself counts instead, does `positions` decide. Tokens of videos are left alone.

    Signals of target "image": `tokens` (the merged vectors, as the language model gets them), `encoder_attention` (the
    image encoder's tokens vote for each other, those of one image among themselves; an image token receives what the
    tokens that it is merged of receive), `text` (the prompt's embeddings) and `grid`. Images with different numbers of
    tokens are voted on apart.
    """

    name: ClassVar[str] = "qwen2-vl"
    module: ClassVar[str] = "transformers.models.qwen2_vl.modeling_qwen2_vl"
    model: ClassVar[str] = "Qwen2VLForConditionalGeneration"


@dataclass(frozen=True)
class Qwen25VL(QwenVL):
    """Qwen2.5-VL: image tokens leave in front of the language model, as in Qwen2-VL.

    In most layers of the image encoder a token sees only its window, so votes for it come from there.

    Signals of target "image": `tokens`, `encoder_attention`, `text` and `grid`.
    """

    name: ClassVar[str] = "qwen2-5-vl"
    module: ClassVar[str] = "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl"
    model: ClassVar[str] = "Qwen2_5_VLForConditionalGeneration"

    def window(self, vision: Any) -> int | None:
        """How many image tokens the side of a window in the encoder has."""
        side: int = vision.window_size // vision.spatial_merge_size // vision.patch_size
        return side


@dataclass(frozen=True)
class Qwen3VL(QwenVL):
    """Qwen3-VL: image tokens leave in front of the language model, as in Qwen2-VL.

    What layers of the image encoder hand to layers of the language model (DeepStack) leaves with its tokens. Merging
    folds only the tokens themselves.

    Signals of target "image": `tokens`, `encoder_attention`, `text` and `grid`.
    """

    name: ClassVar[str] = "qwen3-vl"
    module: ClassVar[str] = "transformers.models.qwen3_vl.modeling_qwen3_vl"
    model: ClassVar[str] = "Qwen3VLForConditionalGeneration"


def _grids(merge: int, arguments: Mapping[str, Any]) -> list[tuple[int, int]]:
    grids: list[list[int]] = arguments["image_grid_thw"].tolist()
    return [(frames * rows // merge, columns // merge) for frames, rows, columns in grids]


def _places(
    merge: int, window: int | None, base: nn.Module, arguments: Mapping[str, Any], counts: Sequence[int]
) -> list[Tensor]:
    """Where the encoder has the tokens that each image token is merged of: one behind the other, windows in order."""
    found, start = [], 0
    for frames, rows, columns in arguments["image_grid_thw"].tolist():
        place = torch.arange(frames * rows * columns // merge**2)
        if window is not None:
            place = _in_windows(frames, rows // merge, columns // merge, window)
        found.append(start + place[:, None] * merge**2 + torch.arange(merge**2))
        start += frames * rows * columns
    return found


def _in_windows(frames: int, rows: int, columns: int, window: int) -> Tensor:
    """Which place each token of a grid takes when the grid is read window by window.

    Example:
        >>> _in_windows(1, 2, 3, 2)
        tensor([0, 1, 4, 2, 3, 5])
    """
    frame, row, column = torch.meshgrid(*map(torch.arange, (frames, rows, columns)), indexing="ij")
    number = (
        frame * rows + row // window
    ) * columns + column // window  # any number that grows with frame, row, column
    return number.flatten().argsort(stable=True).argsort()
