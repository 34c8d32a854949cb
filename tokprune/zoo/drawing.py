"""Drawing: from the objects of a scene to pixels."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokprune.zoo.scenes import IMAGE_SIZE, Scene

Pixels = NDArray[np.uint8]

_RGB = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 230),
    "yellow": (235, 225, 50),
    "purple": (160, 50, 190),
    "orange": (245, 140, 20),
}
_NOISE = 12.0
"""Standard deviation of the noise on every pixel, of 255."""


@cache
def stamp(shape: str, radius: int) -> NDArray[np.bool_]:
    """The pixels that a shape covers, as a square mask of `2 * radius + 1` rows and columns."""
    span = np.arange(-radius, radius + 1)
    x, y = np.meshgrid(span, span)
    masks: dict[str, Any] = {
        "circle": x**2 + y**2 <= (radius + 0.3) ** 2,
        "square": np.maximum(abs(x), abs(y)) <= radius - 1,
        "triangle": 2 * abs(x) <= y + radius,
        "cross": np.minimum(abs(x), abs(y)) <= max(1, radius // 4),
    }
    mask: NDArray[np.bool_] = masks[shape]
    return mask


def draw(scene: Scene, rng: np.random.Generator) -> Pixels:
    """The picture of a scene `[row column channel]`: flat objects on a grey background, noise over both."""
    canvas = np.empty((IMAGE_SIZE, IMAGE_SIZE, 3), np.float32)
    canvas[:] = rng.uniform(60, 140)
    for o in scene:
        window = canvas[o.y - o.radius : o.y + o.radius + 1, o.x - o.radius : o.x + o.radius + 1]
        window[stamp(o.shape, o.radius)] = np.asarray(_RGB[o.colour]) * rng.uniform(0.9, 1.0)
    canvas += rng.standard_normal(canvas.shape, np.float32) * _NOISE
    return canvas.clip(0, 255).astype(np.uint8)


def owners(scene: Scene) -> NDArray[np.int64]:
    """For every pixel the index of the object that covers it, -1 for background `[row column]`."""
    owner = np.full((IMAGE_SIZE, IMAGE_SIZE), -1, np.int64)
    for index, o in enumerate(scene):
        window = owner[o.y - o.radius : o.y + o.radius + 1, o.x - o.radius : o.x + o.radius + 1]
        window[stamp(o.shape, o.radius)] = index
    return owner
