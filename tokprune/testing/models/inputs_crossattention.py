"""Inputs of the tiny models whose decoder cross-attends to an encoder, as their processors lay them out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PAD, BOS, EOS = 0, 1, 97
"""Ids of every model here."""
START, NO_TIMESTAMPS = 2, 96
"""Ids by which Whisper begins."""
IMAGE = 90
"""Id that stands for an image in a prompt of Mllama."""
TEXT = 6
"""Length of a prompt."""


def pictured(pads: Sequence[int] = (0, 2), seed: int = 1, side: int = 16) -> dict[str, Tensor]:
    """Inputs of a tiny BLIP: an image for each row, `side` pixels a side, and text with padding in front."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(10, 90, (len(pads), TEXT), generator=generator)
    mask = torch.arange(TEXT)[None] >= torch.tensor(pads)[:, None]
    return {
        "pixel_values": torch.randn(len(pads), 3, side, side, generator=generator),
        "input_ids": ids.masked_fill(~mask, PAD),
        "attention_mask": mask.long(),
    }


def labelled(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inputs with an answer for each question, by which the loss is computed."""
    labels = torch.randint(10, 90, (len(inputs["input_ids"]), 4), generator=torch.Generator().manual_seed(5))
    return {**inputs, "labels": labels}


def sounds(rows: int = 2, seed: int = 1) -> dict[str, Tensor]:
    """Inputs of a tiny Whisper: sound for each row, and what was written so far."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "input_features": torch.randn(rows, 8, 24, generator=generator),
        "decoder_input_ids": torch.randint(10, 90, (rows, TEXT), generator=generator),
    }


def written(pads: Sequence[int] = (0, 2), seed: int = 1) -> dict[str, Tensor]:
    """Inputs of a tiny VisionEncoderDecoderModel: an image for each row, and text with padding in front."""
    given = pictured(pads, seed)
    return {
        "pixel_values": given["pixel_values"],
        "decoder_input_ids": given["input_ids"],
        "decoder_attention_mask": given["attention_mask"],
    }


def idefics(images: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 2), seed: int = 1) -> dict[str, Tensor]:
    """Inputs of a tiny Idefics as its processor lays them out: padding in front, and text that sees one image each.

    Args:
        images: how many images each row has; rows with fewer are filled up with images that no token sees.
        pads: how much padding each row has in front.
        seed: of words and pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, most = len(images), max(images)
    ids = torch.randint(10, 90, (rows, TEXT), generator=generator)
    mask = torch.arange(TEXT)[None] >= torch.tensor(pads)[:, None]
    sees = torch.zeros(rows, TEXT, most, dtype=torch.long)
    for row, (count, pad) in enumerate(zip(images, pads, strict=True)):
        for image in range(count):
            sees[row, pad + image :] = 0  # the last image in front of a token is the one that it sees
            sees[row, pad + image :, image] = 1
    return {
        "input_ids": ids.masked_fill(~mask, PAD),
        "attention_mask": mask.long(),
        "pixel_values": torch.randn(rows, most, 3, 16, 16, generator=generator),
        "image_attention_mask": sees,
    }


def mllama(
    images: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 2),
    tiles: int = 1,
    real: Sequence[int] | None = None,
    seed: int = 1,
) -> dict[str, Tensor]:
    """Inputs of a tiny Mllama as its processor lays them out: padding in front, images, and text that sees them.

    Args:
        images: how many images each row has; rows with fewer are filled up with images of no tiles.
        pads: how much padding each row has in front.
        tiles: how many tiles an image has, padded ones included.
        real: how many tiles the images of each row have; None: all.
        seed: of words and pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, most = len(images), max(images)
    ids = torch.randint(10, 80, (rows, TEXT), generator=generator)
    mask = torch.arange(TEXT)[None] >= torch.tensor(pads)[:, None]
    shown = torch.zeros(rows, most, tiles, dtype=torch.long)
    sees = torch.zeros(rows, TEXT, most, tiles, dtype=torch.long)
    for row, (count, pad) in enumerate(zip(images, pads, strict=True)):
        for image in range(count):
            filled = tiles if real is None else real[row]
            shown[row, image, :filled] = 1
            ids[row, pad + image] = IMAGE
            sees[row, pad + image :, image, :filled] = 1  # text sees the images in front of it
    return {
        "input_ids": ids.masked_fill(~mask, PAD),
        "attention_mask": mask.long(),
        "pixel_values": torch.randn(rows, most, tiles, 3, 16, 16, generator=generator),
        "aspect_ratio_ids": shown.sum(dim=-1),
        "aspect_ratio_mask": shown,
        "cross_attention_mask": sees,
    }
