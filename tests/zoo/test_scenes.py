"""Scenes and pictures."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tokprune.zoo.drawing import draw, owners, stamp
from tokprune.zoo.scenes import IMAGE_SIZE, RADII, SHAPES, SPLITS, draw_scene, draw_scene_of, split_of

seeds = st.integers(0, 2**32)


@given(seeds)
def test_objects_lie_inside_and_apart(seed: int) -> None:
    scene = draw_scene(random.Random(seed))
    assert 1 <= len(scene) <= 5
    for index, o in enumerate(scene):
        assert o.radius in RADII[o.size]
        assert min(o.x, o.y) - o.radius > 0
        assert max(o.x, o.y) + o.radius < IMAGE_SIZE - 1
        for p in scene[:index]:
            assert max(abs(o.x - p.x), abs(o.y - p.y)) > o.radius + p.radius


@given(seeds, st.sampled_from(SPLITS))
def test_a_scene_is_of_the_split_it_was_drawn_for_and_no_other(seed: int, split: str) -> None:
    scene = draw_scene_of(split, random.Random(seed))
    assert split_of(scene) == split
    assert split_of(tuple(reversed(scene))) == split, "the order of the objects must not matter"


def test_every_split_gets_its_share() -> None:
    rng = random.Random(0)
    shares = dict.fromkeys(SPLITS, 0)
    for _ in range(2000):
        shares[split_of(draw_scene(rng))] += 1
    assert 0.55 < shares["train"] / 2000 < 0.70
    assert 0.20 < shares["test"] / 2000 < 0.30
    assert 0.08 < shares["calibration"] / 2000 < 0.17


@settings(max_examples=50)
@given(seeds)
def test_every_object_is_drawn_whole(seed: int) -> None:
    scene = draw_scene(random.Random(seed))
    owner = owners(scene)
    for index, o in enumerate(scene):
        assert (owner == index).sum() == stamp(o.shape, o.radius).sum()


@settings(max_examples=20)
@given(seeds)
def test_objects_have_their_colour_in_the_picture(seed: int) -> None:
    scene = draw_scene(random.Random(seed))
    pixels, owner = draw(scene, np.random.default_rng(seed)), owners(scene)
    loudest = {"red": 0, "green": 1, "blue": 2}
    for index, o in enumerate(scene):
        if o.colour in loudest:
            assert pixels[owner == index].mean(0).argmax() == loudest[o.colour]


def test_shapes_of_the_same_radius_differ() -> None:
    for radius in (r for radii in RADII.values() for r in radii):
        assert len({stamp(shape, radius).tobytes() for shape in SHAPES}) == len(SHAPES)
