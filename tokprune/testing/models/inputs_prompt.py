"""Inputs of the tiny models that read image tokens in their prompt, as their processors lay them out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

IMAGE, START, END, VIDEO = 90, 91, 92, 93
"""Ids: the placeholder of an image token; for Qwen what stands around an image or video, and a video's placeholder."""
PAD, BOS, EOS = 0, 1, 97
Item = tuple[int, int] | tuple[int, int, int]
"""For Qwen: rows and columns of the encoder's tokens of an image; frames, rows and columns of a video's."""


def pixels(*count: int, side: int = 16, seed: int = 5) -> dict[str, Any]:
    """Random images `[... 3 side side]`."""
    shape = (*count, 3, side, side)
    return {"pixel_values": torch.randn(shape, generator=torch.Generator().manual_seed(seed))}


def tiles(*sizes: tuple[int, int], seed: int = 5) -> dict[str, Any]:
    """Random images of these heights and widths, as a whole and in two tiles each."""
    return {**pixels(len(sizes), 3, seed=seed), "image_sizes": torch.tensor(sizes)}


def shapes(*sizes: tuple[int, int], side: int = 16, seed: int = 5) -> dict[str, Any]:
    """Random images of these heights and widths, in one tensor with room for the largest."""
    return {**pixels(len(sizes), side=side, seed=seed), "image_sizes": torch.tensor(sizes)}


def prompts(rows: Sequence[Sequence[int]], images: dict[str, Any], seed: int = 1, around: int = 0) -> dict[str, Any]:
    """Inputs as a processor lays them out: words, the placeholders of each image, words; left-padded.

    Args:
        rows: for each row, how many tokens each of its images has.
        images: arguments that carry the images.
        seed: of the words.
        around: id of a word that parts images, 0 for none.
    """
    generator = torch.Generator().manual_seed(seed)
    lines = []
    for row, counts in enumerate(rows):
        line = [BOS, *torch.randint(2, 80, (2,), generator=generator).tolist()]
        for count in counts:
            line += [around] * bool(around) + [IMAGE] * count + [around] * bool(around)
        lines.append(line + torch.randint(2, 80, (4 + row,), generator=generator).tolist())
    longest = max(map(len, lines))
    return {
        **images,
        "input_ids": torch.tensor([[PAD] * (longest - len(line)) + line for line in lines]),
        "attention_mask": torch.tensor([[0] * (longest - len(line)) + [1] * len(line) for line in lines]),
    }


def tokens(item: Item) -> int:
    """How many tokens an image or a video has in the prompt.

    Example:
        >>> tokens((4, 8)), tokens((2, 4, 4))
        (8, 8)
    """
    return math.prod(item) // 4


def grids(items: Sequence[Item], seed: int = 5) -> dict[str, Tensor]:
    """Random images, or videos under the names of images."""
    generator = torch.Generator().manual_seed(seed)
    shown = [(1, *item) if len(item) == 2 else item for item in items]
    return {
        "pixel_values": torch.randn(sum(map(math.prod, shown)), 3 * 2 * 4 * 4, generator=generator),
        "image_grid_thw": torch.tensor(shown),
    }


def qwen(rows: Sequence[Sequence[Item]] = (((4, 8),), ((8, 4),)), seed: int = 1, apart: bool = False) -> dict[str, Any]:
    """Inputs as a processor lays them out: words, images and videos with what stands around them, words; left-padded.

    Args:
        rows: the images and videos of each row.
        seed: of words and pixels.
        apart: whether the frames of a video are apart, a word in front of each, as in Qwen3-VL.
    """
    generator = torch.Generator().manual_seed(seed)
    lines = []
    for index, row in enumerate(rows):
        line = [BOS, *_words(2, generator)]
        for item in row:
            if len(item) == 2:
                line += [START, *[IMAGE] * tokens(item), END]
            elif apart:
                for _ in range(item[0]):
                    line += [*_words(1, generator), START, *[VIDEO] * tokens(item[1:]), END]
            else:
                line += [START, *[VIDEO] * tokens(item), END]
            line += _words(1, generator)
        lines.append(line + _words(4 + index, generator))
    longest = max(map(len, lines))
    ids = torch.tensor([[PAD] * (longest - len(line)) + line for line in lines])
    given: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": torch.tensor([[0] * (longest - len(line)) + [1] * len(line) for line in lines]),
        "mm_token_type_ids": (ids == IMAGE).int() + 2 * (ids == VIDEO).int(),
    }
    shown = [item for row in rows for item in row]
    if any(len(item) == 2 for item in shown):
        given |= grids([item for item in shown if len(item) == 2], seed + 10)
    if any(len(item) == 3 for item in shown):
        films = grids([item for item in shown if len(item) == 3], seed + 20)
        given |= {"pixel_values_videos": films["pixel_values"], "video_grid_thw": films["image_grid_thw"]}
    return given


def _words(count: int, generator: torch.Generator) -> list[int]:
    words: list[int] = torch.randint(2, 80, (count,), generator=generator).tolist()
    return words


def deep(
    images: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 3), seed: int = 4, after: int = 5, size: int = 16
) -> dict[str, Tensor]:
    """Inputs as a processor lays them out: words, the placeholders of each image, words; padded in front.

    Args:
        images: how many images each row has.
        pads: how much longer than the others each row would have to be, filled by padding.
        seed: of words and pixels.
        after: words after the last image.
        size: pixels along a side.
    """
    generator = torch.Generator().manual_seed(seed)
    lines = []
    for count in images:
        line = [1, *torch.randint(2, 80, (3,), generator=generator).tolist()]
        for number in range(count):
            line += ([7] if number else []) + [IMAGE] * 16
        lines.append(line + torch.randint(2, 80, (after,), generator=generator).tolist())
    lines = [line if after == 0 else line[: len(line) - pad] for line, pad in zip(lines, pads, strict=True)]
    longest = max(map(len, lines))
    return {
        "pixel_values": torch.randn(sum(images), 3, size, size, generator=generator),
        "input_ids": torch.tensor([[PAD] * (longest - len(line)) + line for line in lines]),
        "attention_mask": torch.tensor([[0] * (longest - len(line)) + [1] * len(line) for line in lines]),
    }


def shaped(
    sizes: Sequence[Sequence[int]] = ((16, 8), (8, 8), (16, 8)), rows: Sequence[int] = (2, 1)
) -> dict[str, Tensor]:
    """Inputs of a model that takes pictures of any shape, such as 16 by 8 pixels: 8 tokens of 4 by 4 pixels.

    Args:
        sizes: rows and columns of the pixels of each picture.
        rows: how many pictures each row of the prompt has.
    """
    generator = torch.Generator().manual_seed(6)
    counts, lines = iter([high * wide // 16 for high, wide in sizes]), []
    for images in rows:
        line = [1, 33, 44]
        for _ in range(images):
            line += [IMAGE] * next(counts) + [7]
        lines.append(line + torch.randint(2, 80, (4,), generator=generator).tolist())
    longest = max(map(len, lines))
    high, wide = (max(size[side] for size in sizes) for side in (0, 1))
    return {
        "pixel_values": torch.randn(len(sizes), 3, high, wide, generator=generator),
        "image_sizes": torch.tensor(sizes),
        "input_ids": torch.tensor([[PAD] * (longest - len(line)) + line for line in lines]),
        "attention_mask": torch.tensor([[0] * (longest - len(line)) + [1] * len(line) for line in lines]),
    }
