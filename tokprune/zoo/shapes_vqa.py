"""`shapes-vqa`: questions about pictures of coloured shapes, made on demand from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import overload

import numpy as np
from PIL import Image

from tokprune.errors import InvalidValueError, UnknownNameError
from tokprune.samples import Sample
from tokprune.zoo.drawing import draw
from tokprune.zoo.questions import ANSWERS, KINDS, Question, questions
from tokprune.zoo.scenes import SPLITS, Scene, draw_scene_of


class ShapesVqa(Sequence[Sample]):
    """A split of the task as a lazy sequence: sample `i` depends on split, seed and `i` alone.

    So the first ten of a hundred are the same as ten, and nothing is drawn before it is asked for. Kinds of question
    take turns; its form and then one of the form's answers are drawn evenly, and scenes until one allows that answer.
    """

    def __init__(self, split: str = "test", n: int = 1000, seed: int = 0) -> None:
        if split not in SPLITS:
            raise UnknownNameError(f"data set 'shapes-vqa' has no split {split!r}; it has {', '.join(SPLITS)}")
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise InvalidValueError(f"n is how many samples to make, an integer of at least 1, not {n!r}")
        self.split, self.n, self.seed = split, n, seed
        self._indices = range(n)

    def __len__(self) -> int:
        return len(self._indices)

    def __repr__(self) -> str:
        return f"ShapesVqa(split={self.split!r}, n={self.n}, seed={self.seed})"

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> ShapesVqa: ...

    def __getitem__(self, index: int | slice) -> Sample | ShapesVqa:
        """One sample, or a shorter sequence of the same samples for a slice."""
        if isinstance(index, slice):
            part = ShapesVqa(self.split, self.n, self.seed)
            part._indices = self._indices[index]
            return part
        return self._sample(self._indices[index])

    def scene(self, index: int) -> tuple[Scene, Question, str]:
        """What a sample is about: the objects of its scene, its question, and the kind of question."""
        return self._draw(self._indices[index])[:3]

    def _draw(self, index: int) -> tuple[Scene, Question, str, random.Random]:
        rng = random.Random(f"shapes-vqa/{self.split}/{self.seed}/{index}")
        kind = KINDS[index % len(KINDS)]
        form = rng.choice(list(ANSWERS[kind]))
        answer = rng.choice(ANSWERS[kind][form])
        while True:
            scene = draw_scene_of(self.split, rng)
            fitting = [q for q in questions(scene, kind) if (q.form, q.answer) == (form, answer)]
            if fitting:
                return scene, rng.choice(fitting), kind, rng

    def _sample(self, index: int) -> Sample:
        scene, question, kind, rng = self._draw(index)
        pixels = draw(scene, np.random.default_rng(rng.getrandbits(64)))
        return Sample(
            id=f"shapes-vqa/{self.split}/{self.seed}/{index}",
            image=Image.fromarray(pixels, "RGB"),
            question=question.text,
            answers=(question.answer,),
            kind=kind,
        )
