"""Measuring: one pass over all samples, and what came out of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from tokprune.bench.answering import DEFAULT_TEMPLATE, batches, generate_answers, prepare
from tokprune.bench.matching import matches
from tokprune.errors import InvalidValueError
from tokprune.handle import Handle
from tokprune.samples import Sample


@dataclass(frozen=True)
class Examination:
    """The same questions, asked the same way, for every contestant.

    Args:
        processor: Makes the model's inputs of pictures and texts.
        samples: The questions.
        template: The prompt, with `{}` for the question.
        max_new_tokens: Longest answer, in language-model tokens.
        batch_size: Samples per call.
        seed: Set before every pass, for scorers that draw from torch's generator.
    """

    processor: Any
    samples: Sequence[Sample]
    template: str = DEFAULT_TEMPLATE
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
    """One character per sample: `"1"` answered right, `"0"` wrong."""
    right: Counter[str] = field(default_factory=Counter)
    """Right answers per kind of question."""
    asked: Counter[str] = field(default_factory=Counter)
    """Questions per kind."""
    images: int = 0
    tokens: int = 0
    """Target tokens of all images before pruning; 0 if nothing was pruned."""
    tokens_kept: int = 0
    """Target tokens of all images really kept; 0 if nothing was pruned."""
    length_before: int = 0
    """Language-model tokens of all samples as the inputs would have it, padding included."""
    length_after: int = 0
    """Language-model tokens of all samples as they went in, padding included."""
    seconds: float = 0.0

    def add(self, samples: Sequence[Sample], answers: Sequence[str], length: int, handle: Handle | None) -> None:
        """Takes in one batch whose unpruned sequences have `length` tokens."""
        for sample, answer in zip(samples, answers, strict=True):
            right = matches(answer, sample.answers)
            self.outcomes += "1" if right else "0"
            self.asked[sample.kind] += 1
            self.right[sample.kind] += right
        self.length_before += length * len(samples)
        if handle is None:
            self.length_after += length * len(samples)
            return
        report = handle.report
        if report is None:
            raise InvalidValueError("measuring: the model answered but nothing was pruned; was it swapped or compiled?")
        self.images += len(report.counts)
        self.tokens += report.kept.numel()
        self.tokens_kept += int(report.counts.sum())
        self.length_after += report.length_after * len(samples)

    @property
    def kinds(self) -> dict[str, tuple[int, int]]:
        """Kind of question -> (right answers, questions), by name."""
        return {kind: (self.right[kind], asked) for kind, asked in sorted(self.asked.items())}


def measure(
    model: nn.Module,
    examination: Examination,
    handle: Handle | None,
    samples_done: Callable[[int], object] = lambda count: None,
) -> Measurement:
    """Asks every question once and counts.

    Args:
        model: The model as it stands: with a cut on it, or without.
        examination: What to ask.
        handle: The handle of the cut, or None.
        samples_done: Called with the number of samples of each batch once it is answered.
    """
    result = Measurement()
    torch.manual_seed(examination.seed)
    begin = time.perf_counter()
    for batch in batches(examination.samples, examination.batch_size):
        inputs = prepare(model, examination.processor, batch, examination.template)
        answers = generate_answers(model, examination.processor, inputs, examination.max_new_tokens)
        result.add(batch, answers, inputs["input_ids"].shape[1], handle)
        samples_done(len(batch))
    result.seconds = time.perf_counter() - begin
    return result
