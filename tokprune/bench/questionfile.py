"""A user's own data: a JSON Lines file of images, questions and answers, or of sounds and transcripts."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, overload

from tokprune.bench.picturefile import open_picture
from tokprune.bench.reading import check_text, read_json, read_text, shown
from tokprune.bench.soundfiles import open_sound
from tokprune.errors import InvalidValueError
from tokprune.samples import Sample


class _Line(NamedTuple):
    number: int
    kept_in: str
    """`image` or `audio`."""
    path: Path
    question: str
    answers: tuple[str, ...]
    kind: str


class QuestionFile(Sequence[Sample]):
    """The samples of a JSON Lines file.

    A line holds `image` or `audio` (a path relative to the file; sound as WAV), `answers` (a string or a list of
    accepted answers, captions or transcripts), `question` unless only a caption or a transcript is wanted and, if
    wanted, `kind`. Every line is checked at once; files are opened when their sample is asked for.

    Raises:
        InvalidValueError: Something is missing or wrong; the message names file and line number.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        text = read_text(self.path, "questions")
        self._lines = [
            self._parse(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()
        ]
        if not self._lines:
            raise InvalidValueError(f"questions: {self.path} is empty; expected one JSON object per line")

    def __len__(self) -> int:
        return len(self._lines)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self._sample(line) for line in self._lines[index]]
        return self._sample(self._lines[index])

    def _sample(self, line: _Line) -> Sample:
        where, listens = f"{self.path}:{line.number}", line.kept_in == "audio"
        sound = open_sound(line.path, where) if listens else None
        image = None if listens else open_picture(line.path, where)
        return Sample(f"line-{line.number}", image, line.question, line.answers, line.kind, sound)

    def _parse(self, number: int, line: str) -> _Line:
        where = f"{self.path}:{number}"

        def wrong(what: str) -> InvalidValueError:
            return InvalidValueError(f"{where}: {what}")

        fields = read_json(line, where)
        if not isinstance(fields, dict):
            raise wrong(f"expected a JSON object, got {type(fields).__name__}")
        kept_in = "audio" if "audio" in fields and "image" not in fields else "image"
        if missing := [name for name in (kept_in, "answers") if name not in fields]:
            raise wrong(f"expected 'image' (or 'audio'), 'question' and 'answers'; missing: {', '.join(missing)}")
        for name in (kept_in, "question"):
            if not isinstance(fields.get(name, " "), str) or not fields.get(name, "none").strip():
                raise wrong(f"'{name}' must be a text that is not empty, got {shown(fields[name])}")
        answers = [fields["answers"]] if isinstance(fields["answers"], str) else fields["answers"]
        if not isinstance(answers, list) or not answers or not all(isinstance(a, str) and a.strip() for a in answers):
            raise wrong(f"'answers' must be a text or a list of texts, at least one, got {shown(fields['answers'])}")
        question, kind = fields.get("question", ""), str(fields.get("kind", ""))
        for name, text in (("question", question), *(("answers", each) for each in answers), ("kind", kind)):
            check_text(text, f"{where}: '{name}'")
        path = self.path.parent / fields[kept_in]
        if not os.path.isfile(path):
            raise wrong(f"no {'image' if kept_in == 'image' else 'sound'} at {path}")
        return _Line(number, kept_in, path, question, tuple(answers), kind)


def draw(samples: Sequence[Sample], n: int | None, seed: int) -> Sequence[Sample]:
    """`n` of the samples, drawn by `seed`, in their original order; all of them if there are no more than `n`.

    Raises:
        InvalidValueError: `n` is below 1.
    """
    if n is not None and n < 1:
        raise InvalidValueError(f"number of samples: expected at least 1, got {n}")
    if n is None or n >= len(samples):
        return samples
    return _Subset(samples, sorted(random.Random(seed).sample(range(len(samples)), n)))


class _Subset(Sequence[Sample]):
    """Some of the samples, fetched when asked for."""

    def __init__(self, samples: Sequence[Sample], indices: list[int]) -> None:
        self._samples, self._indices = samples, indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self._samples[i] for i in self._indices[index]]
        return self._samples[self._indices[index]]
