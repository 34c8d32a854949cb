"""Inputs of the tiny models with a Q-Former, as their processors lay them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

IMAGE = 5
"""Id of the placeholder that each query token takes in a prompt."""
QUERIES = 8
"""Query tokens of each image."""
PAD = {"opt": 1, "t5": 0, "llama": 0}
"""Kind of language model -> id of its padding."""
BOS, TEXT = 2, 6
"""First token of every text, and how long it is."""
QUESTION_PAD = 0
"""Id of the padding of what the Q-Former reads."""
FRAMES = 2
"""Frames of each video."""


def prompts(
    text: str = "opt", images: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 3), seed: int = 1, lead: int = 0
) -> dict[str, Tensor]:
    """Inputs of a tiny BLIP-2 as its processor lays them out: image placeholders, then left padding, then the text.

    Rows with fewer images than others are filled up with padding in front.

    Args:
        text: the language model.
        images: how many images each row has; one row per entry.
        pads: after how many padding tokens each row starts its text.
        seed: of words and pixels.
        lead: how many words come before each image.

    Returns:
        `pixel_values` `[image channel row column]`, `input_ids` and `attention_mask` `[batch position]`.
    """
    generator = torch.Generator().manual_seed(seed)
    ids, mask = [], []
    for count, padding in zip(images, pads, strict=True):
        words = torch.randint(10, 90, (TEXT,), generator=generator)
        words[0] = BOS
        front = (max(images) - count) * (QUERIES + lead)
        shown = ([30 + lead] * lead + [IMAGE] * QUERIES) * count
        row = [PAD[text]] * front + shown + [PAD[text]] * padding
        row += words[: TEXT - padding].tolist()
        ids.append(row)
        mask.append([0] * front + [1] * len(shown) + [0] * padding + [1] * (TEXT - padding))
    return {
        "pixel_values": torch.randn(sum(images), 3, 16, 16, generator=generator),
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
    }


def questioned(
    text: str = "llama",
    images: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 3),
    seed: int = 1,
    lead: int = 0,
    question_pads: Sequence[int] | None = None,
    side: Literal["left", "right"] = "right",
) -> dict[str, Tensor]:
    """Inputs of a tiny InstructBLIP as its processor lays them out: those of BLIP-2, and a question for each image.

    Args:
        text: the language model.
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
    given = prompts(text, images, pads, seed, lead)
    generator = torch.Generator().manual_seed(seed + 100)
    ids, mask = [], []
    for count, padding in zip(images, pads if question_pads is None else question_pads, strict=True):
        words = [BOS, *torch.randint(10, 90, (TEXT - 1,), generator=generator).tolist()][: TEXT - padding]
        empty, real = [QUESTION_PAD] * padding, [1] * len(words)
        ids += [empty + words if side == "left" else words + empty] * count
        mask += [[0] * padding + real if side == "left" else real + [0] * padding] * count
    question = {"qformer_input_ids": torch.tensor(ids), "qformer_attention_mask": torch.tensor(mask)}
    return {"pixel_values": given.pop("pixel_values"), **question, **given}


def films(text: str = "llama", pads: Sequence[int] = (0, 3), frames: int = FRAMES, seed: int = 1) -> dict[str, Tensor]:
    """Inputs of one video for each row, as the processor lays them out: those of so many images, one question for all.

    Args:
        text: the language model.
        pads: after how many padding tokens each row starts its text; one row per entry.
        frames: of each video.
        seed: of words and pixels.

    Returns:
        `pixel_values` `[video frame channel row column]`, `qformer_input_ids` and `qformer_attention_mask`
        `[video text]`, `input_ids` and `attention_mask` `[video position]`.
    """
    given = questioned(text, (frames,) * len(pads), pads, seed)
    given["pixel_values"] = given["pixel_values"].reshape(len(pads), frames, 3, 16, 16)
    for name in ("qformer_input_ids", "qformer_attention_mask"):
        given[name] = given[name][::frames]
    return given


def texts(images: int = 2, pads: tuple[int, ...] = (0, 3), seed: int = 1) -> dict[str, Tensor]:
    """Images and as many texts as `pads`, each padded behind by so much, with the placeholders that go before.

    Returns:
        `pixel_values` `[image channel row column]`, `input_ids` and `attention_mask` `[text position]`.
    """
    generator = torch.Generator().manual_seed(seed)
    ids, mask = [], []
    for padding in pads:
        words = [BOS, *torch.randint(10, 90, (TEXT - 1,), generator=generator).tolist()][: TEXT - padding]
        ids.append([IMAGE] * QUERIES + words + [QUESTION_PAD] * padding)
        mask.append([1] * (QUERIES + len(words)) + [0] * padding)
    return {
        "pixel_values": torch.randn(images, 3, 16, 16, generator=generator),
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
    }
