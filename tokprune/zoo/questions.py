"""Questions: everything that can be asked about a scene without ambiguity, by kind, with the answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations, product
from typing import NamedTuple

from tokprune.zoo.scenes import COLOURS, IMAGE_SIZE, MAX_OBJECTS, SHAPES, SIZES, Scene, SceneObject

NUMBERS = ("zero", "one", "two", "three", "four", "five")
PLURALS = {"circle": "circles", "square": "squares", "triangle": "triangles", "cross": "crosses"}
_MIDDLE = (IMAGE_SIZE - 1) / 2
_MARGIN = 5.0
"""Pixels between an object's centre and the middle line before a question may say on which side it is."""


class Question(NamedTuple):
    """A question about one scene; questions of the same `form` differ in words only."""

    form: str
    text: str
    answer: str


def _unique(scene: Scene) -> Iterator[tuple[str, str, SceneObject]]:
    """Every short description that fits exactly one object of the scene, as (form, description, object)."""
    for o in scene:
        descriptions = {
            "shape": o.shape,
            "colour": f"{o.colour} object",
            "size": f"{o.size} object",
            "colour-shape": o.name,
            "size-shape": f"{o.size} {o.shape}",
            "size-colour": f"{o.size} {o.colour} object",
        }
        for form, text in descriptions.items():
            attributes = [getattr(o, name) for name in form.split("-")]
            if sum(all(a in (p.colour, p.shape, p.size) for a in attributes) for p in scene) == 1:
                yield form, text, o


def _attribute(scene: Scene, asked: str) -> Iterator[Question]:
    for form, text, o in _unique(scene):
        if asked not in form:
            yield Question(form, f"what {asked} is the {text}?", getattr(o, asked))


def _colour(scene: Scene) -> Iterator[Question]:
    return _attribute(scene, "colour")


def _shape(scene: Scene) -> Iterator[Question]:
    return _attribute(scene, "shape")


def _size(scene: Scene) -> Iterator[Question]:
    return _attribute(scene, "size")


def _count(scene: Scene) -> Iterator[Question]:
    def ask(form: str, noun: str, count: int) -> Question:
        return Question(form, f"how many {noun} are there?", NUMBERS[count])

    yield ask("all", "objects", len(scene))
    for colour in COLOURS:
        yield ask("colour", f"{colour} objects", sum(o.colour == colour for o in scene))
    for shape in SHAPES:
        yield ask("shape", PLURALS[shape], sum(o.shape == shape for o in scene))
    for size in SIZES:
        yield ask("size", f"{size} objects", sum(o.size == size for o in scene))


def _exist(scene: Scene) -> Iterator[Question]:
    colours, shapes = {o.colour for o in scene}, {o.shape for o in scene}
    for colour in COLOURS:
        yield Question("colour", f"is there a {colour} object?", _yes(colour in colours))
    for shape in SHAPES:
        yield Question("shape", f"is there a {shape}?", _yes(shape in shapes))
    # Near misses only: the colour or the shape is there, so that binding them is what counts.
    named = {o.name for o in scene}
    for colour, shape in product(COLOURS, SHAPES):
        if colour in colours or shape in shapes:
            yield Question("colour-shape", f"is there a {colour} {shape}?", _yes(f"{colour} {shape}" in named))
    sized = {(o.size, o.shape) for o in scene}
    for size, shape in product(SIZES, (shape for shape in SHAPES if shape in shapes)):
        yield Question("size-shape", f"is there a {size} {shape}?", _yes((size, shape) in sized))


def _compare(scene: Scene) -> Iterator[Question]:
    for a, b in permutations(COLOURS, 2):
        first, second = (sum(o.colour == c for o in scene) for c in (a, b))
        if first and second:
            yield Question("more", f"are there more {a} objects than {b} objects?", _yes(first > second))
    for a, b in permutations(SHAPES, 2):
        first, second = (sum(o.shape == s for o in scene) for s in (a, b))
        if first and second:
            yield Question("more", f"are there more {PLURALS[a]} than {PLURALS[b]}?", _yes(first > second))
    named = [o for form, _, o in _unique(scene) if form == "colour-shape"]
    for p, q in permutations(named, 2):
        if p.size != q.size:
            yield Question("larger", f"is the {p.name} larger than the {q.name}?", _yes(p.size == "large"))


def _where(scene: Scene) -> Iterator[Question]:
    for form, text, o in _unique(scene):
        if form in ("colour-shape", "colour", "shape"):
            across, down = o.x - _MIDDLE, o.y - _MIDDLE
            if abs(across) >= _MARGIN:
                side = "left" if across < 0 else "right"
                yield Question("left-right", f"left or right: where is the {text}?", side)
            if abs(down) >= _MARGIN:
                side = "top" if down < 0 else "bottom"
                yield Question("top-bottom", f"top or bottom: where is the {text}?", side)
    for (row, down), (column, across) in product((("top", -1), ("bottom", 1)), (("left", -1), ("right", 1))):
        # How deep every object's centre lies in this corner: one clearly inside, all others clearly outside.
        depths = [min(across * (o.x - _MIDDLE), down * (o.y - _MIDDLE)) for o in scene]
        inside = [o for o, depth in zip(scene, depths, strict=True) if depth >= _MARGIN]
        if len(inside) == 1 and all(depth >= _MARGIN or depth <= -_MARGIN for depth in depths):
            yield Question("colour-at", f"what colour is the object at the {row} {column}?", inside[0].colour)
            yield Question("shape-at", f"what shape is the object at the {row} {column}?", inside[0].shape)


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


_ASK: dict[str, Callable[[Scene], Iterator[Question]]] = {
    "colour": _colour,
    "shape": _shape,
    "size": _size,
    "count": _count,
    "exist": _exist,
    "compare": _compare,
    "where": _where,
}
KINDS = tuple(_ASK)
YES_NO = ("yes", "no")
ANSWERS: dict[str, dict[str, tuple[str, ...]]] = {
    "colour": dict.fromkeys(("shape", "size", "size-shape"), COLOURS),
    "shape": dict.fromkeys(("colour", "size", "size-colour"), SHAPES),
    "size": dict.fromkeys(("colour", "shape", "colour-shape"), SIZES),
    "count": {
        "all": NUMBERS[1 : MAX_OBJECTS + 1],
        "colour": NUMBERS[:4],
        "shape": NUMBERS[:4],
        "size": NUMBERS[:5],
    },
    "exist": dict.fromkeys(("colour", "shape", "colour-shape", "size-shape"), YES_NO),
    "compare": dict.fromkeys(("more", "larger"), YES_NO),
    "where": {
        "left-right": ("left", "right"),
        "top-bottom": ("top", "bottom"),
        "colour-at": COLOURS,
        "shape-at": SHAPES,
    },
}
"""By kind and form, the answers that data sets draw equally often (five red objects would be too rare a scene)."""


def questions(scene: Scene, kind: str) -> list[Question]:
    """Everything of one kind that can be asked about a scene."""
    return list(_ASK[kind](scene))


def choose(candidates: list[Question], rng: random.Random, order: Sequence[str] = ("answer", "form")) -> Question:
    """One of the candidates: first its answer, then its form (or in the order given), then the words, each evenly."""
    for field in order:
        picked = rng.choice(list(dict.fromkeys(getattr(question, field) for question in candidates)))
        candidates = [question for question in candidates if getattr(question, field) == picked]
    return rng.choice(candidates)
