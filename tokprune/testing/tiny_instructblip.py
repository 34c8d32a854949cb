"""Tiny random InstructBLIP models: `tiny_blip2`'s, with a Q-Former that reads the question as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration

from tokprune.testing import tiny_blip2
from tokprune.testing.tiny_blip2 import BOS, TEXT

LANGUAGE_MODELS = ("llama", "t5")
"""The kinds that transformers' InstructBLIP comes with: Vicuna is a LLaMA."""
QUESTION_PAD = 0
"""Id of the padding of what the Q-Former reads."""


def tiny_instructblip(kind: str = "llama", attention: str = "sdpa", seed: int = 0, shallow: bool = False) -> Any:
    """A random InstructBLIP in eval mode: 17 image tokens, 8 query tokens, 2 cross-attention layers.

    Args:
        kind: its language model, "llama" (Vicuna) or "t5".
        attention: attention implementation.
        seed: of its weights.
        shallow: leaves one layer of each kind: for what takes long, such as compiling.

    Example:
        >>> model = tiny_instructblip()
        >>> tuple(model(**prompts()).logits.shape)
        (2, 14, 99)
    """
    config = InstructBlipConfig(**tiny_blip2.configuration(kind, shallow))
    words = torch.randint(10, 90, (4, TEXT), generator=torch.Generator().manual_seed(98))
    return tiny_blip2.build(InstructBlipForConditionalGeneration, config, attention, seed, qformer_input_ids=words)


def prompts(
    kind: str = "llama",
    images: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 3),
    seed: int = 1,
    lead: int = 0,
    question_pads: Sequence[int] | None = None,
    side: Literal["left", "right"] = "right",
) -> dict[str, Tensor]:
    """Inputs of a tiny InstructBLIP as its processor lays them out: those of BLIP-2, and a question for each image.

    Args:
        kind: the language model.
        images: how many images each row has; one row per entry.
        pads: after how many padding tokens each row starts its text.
        seed: of words and pixels.
        lead: how many words come before each image.
        question_pads: how much padding each row's question has; None: as much as its text.
        side: where that padding goes.

    Returns:
        `pixel_values` `[image channel row column]`, `qformer_input_ids` and `qformer_attention_mask` `[image text]`,
        `input_ids` and `attention_mask` `[batch position]`.
    """
    given = tiny_blip2.prompts(kind, images, pads, seed, lead)
    generator = torch.Generator().manual_seed(seed + 100)
    ids, mask = [], []
    for count, padding in zip(images, pads if question_pads is None else question_pads, strict=True):
        words = [BOS, *torch.randint(10, 90, (TEXT - 1,), generator=generator).tolist()][: TEXT - padding]
        empty, real = [QUESTION_PAD] * padding, [1] * len(words)
        ids += [empty + words if side == "left" else words + empty] * count
        mask += [[0] * padding + real if side == "left" else real + [0] * padding] * count
    question = {"qformer_input_ids": torch.tensor(ids), "qformer_attention_mask": torch.tensor(mask)}
    return {"pixel_values": given.pop("pixel_values"), **question, **given}
