"""Tokens as vectors that can be compared: wide, in range, centred if wanted."""

from __future__ import annotations

import torch
from torch import Tensor


def comparable(tokens: Tensor, centre: bool = False, unit: bool = True) -> Tensor:
    """The tokens in float64 (float32 on MPS, which has nothing wider), none longer than 1, whatever their norms were.

    In float64 the result depends neither on the batch nor on autocast or TF32, which round products of float32.

    Args:
        tokens: `[batch token dim]`, any floating dtype.
        centre: subtract the mean of each image's tokens first. A token that equals the mean, to about 12 digits of the
            image's largest number, becomes the zero vector: what is left of it is rounding.
        unit: True scales every token to length 1, False all tokens of an image by one number, so that the longest has
            length 1. A zero vector stays what it is.

    Returns:
        `[batch token dim]`.

    Example:
        >>> comparable(torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]))
        tensor([[[0.6000, 0.8000],
                 [0.0000, 0.0000]]], dtype=torch.float64)
    """
    points = tokens.detach().to(torch.float32 if tokens.device.type == "mps" else torch.float64)
    points = points / _or_one(points.abs().amax(dim=(1, 2), keepdim=True))  # squares stay in range
    if centre:
        points = points - points.mean(dim=1, keepdim=True)
        rounding = 2**12 * torch.finfo(points.dtype).eps
        points = torch.where(points.abs().amax(dim=2, keepdim=True) > rounding, points, torch.zeros_like(points))
    if unit:
        points = points / _or_one(points.abs().amax(dim=2, keepdim=True))
        return points / _or_one(points.norm(dim=2, keepdim=True))
    return points / _or_one(points.norm(dim=2, keepdim=True).amax(dim=1, keepdim=True))


def _or_one(divisor: Tensor) -> Tensor:
    return torch.where(divisor > 0, divisor, torch.ones_like(divisor))
