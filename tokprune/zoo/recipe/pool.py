"""The training pool: scenes of the train split with their pictures and questions, as tensors."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tokprune.zoo.drawing import draw, owners
from tokprune.zoo.processor import build_tokenizer
from tokprune.zoo.questions import Question, choose, questions
from tokprune.zoo.scenes import COLOURS, IMAGE_SIZE, MAX_OBJECTS, SHAPES, SIZES, Scene, draw_scene_of
from tokprune.zoo.vocabulary import PROMPT_TEMPLATE, VOCABULARY


@dataclass(frozen=True)
class Mix:
    """Which questions a pool asks about each of its scenes."""

    per_scene: Mapping[str, int]
    """How many of each kind."""
    order: tuple[str, str]
    """What is drawn evenly first, the answer or the form."""


FIRST = Mix({"colour": 2, "shape": 2, "size": 2, "count": 3, "exist": 2, "compare": 3, "where": 4}, ("answer", "form"))
"""More of the kinds with more forms."""
SECOND = Mix({"colour": 1, "shape": 2, "size": 1, "count": 5, "exist": 2, "compare": 2, "where": 5}, ("form", "answer"))
"""More of what is hard, with forms drawn evenly, as in the data set."""
PATCH = 8
_GRID = IMAGE_SIZE // PATCH
_ENOUGH = 5
"""Pixels of an object from which on a patch is said to show it."""


@dataclass(frozen=True)
class Pool:
    """Everything the three stages learn from; the first axis of every tensor is the scene."""

    pixels: Tensor
    """Pictures, uint8 `[scene row column channel]`."""
    owner: Tensor
    """Which object a patch shows, -1 for background `[scene patch]`."""
    objects: Tensor
    """Colour, shape, size (indices), x, y (pixels) of every object; rows of -1 after the last `[scene object 5]`."""
    text: Tensor
    """Prompts as token ids, padded right `[scene question token]`."""
    length: Tensor
    """Tokens of each prompt `[scene question]`."""
    answer: Tensor
    """Token id of each answer `[scene question]`."""

    def __len__(self) -> int:
        return len(self.pixels)


def build_pool(scenes: int, seed: int, mix: Mix = FIRST, tick: Callable[[], None] = lambda: None) -> Pool:
    """Draws `scenes` scenes of the train split and asks about each of them; `tick` is called after each."""
    rng, noise = random.Random(f"pool/{seed}"), np.random.default_rng(seed)
    pixels = np.empty((scenes, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    owner = np.empty((scenes, _GRID * _GRID), np.int8)
    objects = np.full((scenes, MAX_OBJECTS, 5), -1, np.int16)
    asked: list[Question] = []
    for index in range(scenes):
        scene = draw_scene_of("train", rng)
        pixels[index] = draw(scene, noise)
        owner[index] = patch_owners(scene)
        for row, o in enumerate(scene):
            objects[index, row] = COLOURS.index(o.colour), SHAPES.index(o.shape), SIZES.index(o.size), o.x, o.y
        asked.extend(ask(scene, mix, rng))
        tick()
    text, length, answer = (x.view(scenes, sum(mix.per_scene.values()), *x.shape[1:]) for x in encode(asked))
    return Pool(torch.from_numpy(pixels), torch.from_numpy(owner), torch.from_numpy(objects), text, length, answer)


def patch_owners(scene: Scene) -> np.ndarray:
    """The object that most of a patch shows, -1 where none covers enough of it `[patch]`."""
    pixels = owners(scene).reshape(_GRID, PATCH, _GRID, PATCH).transpose(0, 2, 1, 3).reshape(_GRID * _GRID, -1)
    covered = np.stack([(pixels == index).sum(1) for index in range(len(scene))])
    return np.where(covered.max(0) >= _ENOUGH, covered.argmax(0), -1)


def ask(scene: Scene, mix: Mix, rng: random.Random) -> list[Question]:
    """The questions of a scene; where it allows none of a kind, counting takes its place."""
    asked: list[Question] = []
    for kind, wanted in mix.per_scene.items():
        candidates = questions(scene, kind) or questions(scene, "count")
        asked.extend(choose(candidates, rng, mix.order) for _ in range(wanted))
    return asked


def encode(asked: list[Question]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids of the prompts, padded right, their lengths, and the ids of the answers."""
    tokenizer = build_tokenizer()
    batch = tokenizer(
        [PROMPT_TEMPLATE.format(question.text) for question in asked],
        padding=True,
        padding_side="right",
        return_tensors="np",
    )
    word_id = {word: index for index, word in enumerate(VOCABULARY)}
    answer = torch.tensor([word_id[question.answer] for question in asked], dtype=torch.int16)
    ids = torch.from_numpy(batch["input_ids"].astype(np.int16))
    return ids, torch.from_numpy(batch["attention_mask"].sum(1).astype(np.int16)), answer
