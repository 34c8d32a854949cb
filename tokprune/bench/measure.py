"""Measuring: one pass over all samples, and what came out of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tokprune.bench.answering import batches, generate_answers, prepare
from tokprune.bench.entrance import watch_entrance
from tokprune.bench.matching import matches
from tokprune.bench.transcripts import word_errors
from tokprune.errors import InvalidValueError
from tokprune.handle import Handle
from tokprune.handles import by_target, together
from tokprune.report import Report
from tokprune.samples import Sample


@dataclass(frozen=True)
class Examination:
    """The same questions, asked the same way, for every contestant.

    Args:
        processor: Makes the model's inputs of pictures and texts.
        samples: The questions.
        template: The prompt, with `{}` for the question; None for the model's own.
        max_new_tokens: Longest answer, in language-model tokens.
        batch_size: Samples per call.
        seed: Set before every pass, for scorers that draw from torch's generator.
    """

    processor: Any
    samples: Sequence[Sample]
    template: str | None = None
    max_new_tokens: int = 10
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.samples:
            raise InvalidValueError("examination: there are no samples; expected at least 1")


@dataclass
class Measurement:
    """What one pass gave; grows batch by batch."""

    outcomes: str = ""
    """One character per sample: `"1"` answered right (a transcript without an error), `"0"` wrong."""
    word_errors: list[tuple[int, int]] = field(default_factory=list)
    """Of each sound: wrong words, and words of its transcript."""
    right: Counter[str] = field(default_factory=Counter)
    """Right answers per kind of question."""
    asked: Counter[str] = field(default_factory=Counter)
    """Questions per kind."""
    images: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    """Target -> its tokens of all images before pruning; empty if nothing was pruned."""
    tokens_kept: Counter[str] = field(default_factory=Counter)
    """Target -> its tokens of all images really kept; empty if nothing was pruned."""
    length: int | None = 0
    """Tokens of all samples that went into the language model, padding included; None where it was not found."""
    seconds: float = 0.0

    def add(self, samples: Sequence[Sample], answers: Sequence[str], length: int | None) -> None:
        """Takes in the answers of one batch, whose sequences had `length` tokens when they went in."""
        for sample, answer in zip(samples, answers, strict=True):
            right = matches(answer, sample.answers)
            if sample.sound is not None:
                self.word_errors.append(word_errors(answer, sample.answers))
                right = self.word_errors[-1][0] == 0
            self.outcomes += "1" if right else "0"
            self.asked[sample.kind] += 1
            self.right[sample.kind] += right
        self.length = None if self.length is None or length is None else self.length + length * len(samples)

    def add_reports(self, handles: Sequence[Handle]) -> None:
        """Takes in what each cut reports of one batch."""
        for target, stages in by_target(handles).items():
            report = together([handle.report for handle in stages])
            if report is None:
                raise InvalidValueError(
                    f"measuring: the model answered but no {target} tokens were pruned; was it swapped or compiled?"
                )
            self.tokens[target] += tokens_in(report)
            self.tokens_kept[target] += int(report.counts.sum())
        if handles and handles[0].report is not None:
            self.images += len(handles[0].report.counts)

    @property
    def kinds(self) -> dict[str, tuple[int, int]]:
        """Kind of question -> (right answers, questions), by name."""
        return {kind: (self.right[kind], asked) for kind, asked in sorted(self.asked.items())}


def tokens_in(report: Report) -> int:
    """Target tokens of all images before pruning: where images have different numbers, scores of none are NaN."""
    return int((~report.scores.isnan()).sum())


def measure(
    model: nn.Module,
    examination: Examination,
    handles: Sequence[Handle] = (),
    samples_done: Callable[[int], object] = lambda count: None,
) -> Measurement:
    """Asks every question once and counts.

    Args:
        model: The model as it stands: with cuts on it, or without.
        examination: What to ask.
        handles: The handles of the cuts, one per target.
        samples_done: Called with the number of samples of each batch once it is answered.
    """
    result = Measurement()
    torch.manual_seed(examination.seed)
    begin = time.perf_counter()
    with watch_entrance(model) as entered:
        for batch in batches(examination.samples, examination.batch_size):
            inputs = prepare(model, examination.processor, batch, examination.template)
            entered.clear()
            answers = generate_answers(model, examination.processor, inputs, examination.max_new_tokens)
            result.add(batch, answers, entered[0] if entered else None)
            result.add_reports(handles)
            samples_done(len(batch))
    result.seconds = time.perf_counter() - begin
    return result
