"""The picture of an answer: the voters' weight, which image tokens stayed, what the kept query tokens look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from tokprune.signal import Signal
    from tokprune.votes import Votes

_DARKEST = 0.85
"""How black the image gets where a map is lowest."""

Panel = tuple[str, "Tensor | None"]
"""A title and a map `[row column]` to lay over the image, or None for the image alone."""


def voter_weights(signal: Signal) -> Tensor | None:
    """Attention that each image token receives in the image encoder's last layer, summed over heads `[row column]`.

    None if the image tokens are not a square grid, with or without a [CLS] in front.
    """
    from tokprune.functional import received_attention

    return _as_grid(received_attention(signal.encoder_attention[-1].by_head)[0])


def stayed(kept: Tensor, grid: tuple[int, int]) -> Tensor | None:
    """Which image tokens stayed `[row column]`: 1, and 0 for those that left.

    Args:
        kept: Bool `[image token]` of one image, without [CLS].
        grid: Rows and columns of the image tokens.

    Returns:
        None if the tokens do not fill the grid.
    """
    rows, columns = grid
    return kept.float().view(rows, columns) if len(kept) == rows * columns else None


def watched(votes: Sequence[Votes], kept: Tensor, voters: Tensor | None = None) -> Tensor | None:
    """Attention that the kept query tokens pay to each image token, mean over layers and heads, summed over them.

    Args:
        votes: Cross-attention, one `Votes` per layer, one image.
        kept: Bool `[query token]`.
        voters: Bool `[image token]`, without [CLS]: which of them were there to be looked at; None for all.
    """
    per_layer = [layer.by_head[0][..., kept].mean(0).sum(-1) for layer in votes]
    total = per_layer[0]
    for seen in per_layer[1:]:
        total = total + seen
    total = total / len(per_layer)
    if voters is not None:
        protected = len(total) - int(voters.sum())
        everywhere = total.new_zeros(protected + len(voters))
        everywhere[:protected] = total[:protected]
        everywhere[protected:][voters.to(total.device)] = total[protected:]
        total = everywhere
    return _as_grid(total)


def _as_grid(voters: Tensor) -> Tensor | None:
    for protected in (0, 1):  # [CLS] looks nowhere on the image, so it has no place on the grid
        side = math.isqrt(len(voters) - protected)
        if side * side == len(voters) - protected:
            return voters[protected:].view(side, side)
    return None


def seen(image: Image, inputs: Mapping[str, Any], processor: Any) -> Image:
    """The picture as the model sees it: a processor may have cut out its middle, or filled up its sides.

    Args:
        image: The picture as it was given; that is also what comes back where the model sees it in tiles or patches.
        inputs: What the processor made of it.
        processor: It knows how colours were scaled.
    """
    from PIL import Image as images

    pixels = inputs["pixel_values"].detach().float().cpu()
    if pixels.ndim < 4 or math.prod(pixels.shape[:-3]) != 1 or pixels.shape[-3] != 3:
        return image
    scaling = getattr(processor, "image_processor", None)
    mean, std = (pixels.new_tensor(getattr(scaling, name, None) or [0.5] * 3) for name in ("image_mean", "image_std"))
    colours = pixels.view(pixels.shape[-3:]).permute(1, 2, 0) * std + mean
    return images.fromarray((255 * colours.clamp(0, 1)).round().byte().numpy())


def _stretched(overlay: Tensor) -> Tensor:
    """The map from 0 (its lowest) to 1 (its highest); all 1 if it is flat."""
    low, high = overlay.min(), overlay.max()
    return (overlay - low) / (high - low) if high > low else overlay * 0 + 1


def draw_picture(image: Image, panels: Sequence[Panel], path: str | Path) -> None:
    """Draws the panels, the image in each lit where its map is high, and writes a picture file."""
    import torch
    from matplotlib.figure import Figure

    columns = min(len(panels), 5)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(2.6 * columns, 3.0 * rows), layout="constrained")
    grid: Any = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (title, overlay) in zip(grid.flat, panels, strict=False):
        axes.imshow(image, extent=(0, image.width, image.height, 0))
        if overlay is not None:
            # Darkness, not colour, so that the colours of the image stay what they are.
            dark = torch.zeros(*overlay.shape, 4)
            dark[..., 3] = _DARKEST * (1 - _stretched(overlay.float().cpu()))
            axes.imshow(dark.numpy(), extent=(0, image.width, image.height, 0), interpolation="nearest")
        axes.set_title("\n".join(shorten(line, 36, placeholder=" ...") for line in title.split("\n")), fontsize=8)
    figure.savefig(path, dpi=150)
