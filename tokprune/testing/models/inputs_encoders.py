"""Inputs of the tiny image encoders."""

from __future__ import annotations

import torch
from torch import Tensor


def pictures(size: tuple[int, int] = (16, 16), images: int = 2, seed: int = 1) -> dict[str, Tensor]:
    """`pixel_values` `[image channel row column]` of random pictures."""
    generator = torch.Generator().manual_seed(seed)
    return {"pixel_values": torch.randn(images, 3, *size, generator=generator)}


def timm_pictures() -> dict[str, Tensor]:
    """The same under the name that timm has for them."""
    return {"x": pictures()["pixel_values"]}


def captions(size: tuple[int, int] = (16, 16), images: int = 2, seed: int = 1) -> dict[str, Tensor]:
    """Random pictures, and two captions of different length."""
    ids = torch.tensor([[1, 23, 45, 67, 2], [1, 34, 56, 2, 0]])
    return {**pictures(size, images, seed), "input_ids": ids, "attention_mask": (ids != 0).long()}
