"""Tiny random InstructBLIP models for videos: `tiny_instructblip`'s, whose images are frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import InstructBlipVideoConfig, InstructBlipVideoForConditionalGeneration

from tokprune.testing import tiny_blip2, tiny_instructblip
from tokprune.testing.tiny_blip2 import TEXT

FRAMES = 2
"""Frames of each video."""


def tiny_instructblipvideo(kind: str = "llama") -> Any:
    """A random InstructBLIP for videos in eval mode: 17 image tokens and 8 query tokens of each frame.

    Args:
        kind: its language model, "llama" (Vicuna) or "t5".

    Example:
        >>> tuple(tiny_instructblipvideo()(**prompts()).logits.shape)
        (2, 22, 99)
    """
    given = tiny_blip2.configuration(kind, False)
    given["video_token_index"] = given.pop("image_token_index")
    words = torch.randint(10, 90, (4, TEXT), generator=torch.Generator().manual_seed(98))
    config = InstructBlipVideoConfig(**given)
    return tiny_blip2.build(InstructBlipVideoForConditionalGeneration, config, "sdpa", 0, qformer_input_ids=words)


def prompts(
    kind: str = "llama", pads: Sequence[int] = (0, 3), frames: int = FRAMES, seed: int = 1
) -> dict[str, Tensor]:
    """Inputs of one video for each row, as the processor lays them out: those of so many images, one question for all.

    Args:
        kind: the language model.
        pads: after how many padding tokens each row starts its text; one row per entry.
        frames: of each video.
        seed: of words and pixels.

    Returns:
        `pixel_values` `[video frame channel row column]`, `qformer_input_ids` and `qformer_attention_mask`
        `[video text]`, `input_ids` and `attention_mask` `[video position]`.
    """
    given = tiny_instructblip.prompts(kind, (frames,) * len(pads), pads, seed)
    given["pixel_values"] = given["pixel_values"].reshape(len(pads), frames, 3, 16, 16)
    for name in ("qformer_input_ids", "qformer_attention_mask"):
        given[name] = given[name][::frames]
    return given
