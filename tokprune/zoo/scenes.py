"""Scenes: what is in a picture, before it is drawn, and which split it belongs to."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "cross")
SIZES = ("small", "large")
RADII = {"small": (4, 5), "large": (8, 9)}
"""Half the width of an object in pixels, by its size: a size is a class, not a number."""
IMAGE_SIZE = 64
MAX_OBJECTS = 5
SPLITS = ("train", "calibration", "test")
_CALIBRATION_BUCKETS = 32
_TEST_BUCKETS = 64


@dataclass(frozen=True, order=True)
class SceneObject:
    """One coloured shape; `x` and `y` are its centre in pixels, counted from the top left."""

    colour: str
    shape: str
    size: str
    x: int
    y: int
    radius: int

    @property
    def name(self) -> str:
        """Colour and shape, as a question would call it: `"red circle"`."""
        return f"{self.colour} {self.shape}"


Scene = tuple[SceneObject, ...]


def draw_scene(rng: random.Random) -> Scene:
    """1 to 5 objects at random places; the boxes around them never touch, so nothing is hidden."""
    wanted = rng.randint(1, MAX_OBJECTS)
    objects: list[SceneObject] = []
    attempts = 0
    while len(objects) < wanted:
        if attempts == 60:  # the first objects left no room for the rest
            objects, attempts = [], 0
        attempts += 1
        size = rng.choice(SIZES)
        radius = rng.choice(RADII[size])
        x = rng.randint(radius + 1, IMAGE_SIZE - radius - 2)
        y = rng.randint(radius + 1, IMAGE_SIZE - radius - 2)
        if any(max(abs(x - o.x), abs(y - o.y)) <= radius + o.radius + 1 for o in objects):
            continue
        objects.append(SceneObject(rng.choice(COLOURS), rng.choice(SHAPES), size, x, y, radius))
    return tuple(objects)


def split_of(scene: Scene) -> str:
    """The split that a scene belongs to: a hash of its objects decides, so that no scene can be in two splits."""
    text = ";".join(f"{o.colour},{o.shape},{o.size},{o.x},{o.y},{o.radius}" for o in sorted(scene))
    bucket = hashlib.blake2b(text.encode(), digest_size=1).digest()[0]
    if bucket < _CALIBRATION_BUCKETS:
        return "calibration"
    return "test" if bucket < _CALIBRATION_BUCKETS + _TEST_BUCKETS else "train"


def draw_scene_of(split: str, rng: random.Random) -> Scene:
    """A random scene of one split."""
    while True:
        scene = draw_scene(rng)
        if split_of(scene) == split:
            return scene
