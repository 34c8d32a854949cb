"""How well a model answers `shapes-vqa`: overall, by kind, and blind.

Answers are what `model.generate` (greedy) says after the prompt, compared as text. Blind means that the visual
prefix is zeroed: every output of the language projection is 0, so only the question is left to go by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from tokprune.samples import Sample
from tokprune.zoo.vocabulary import PROMPT_TEMPLATE


@contextmanager
def blinded(model: Any) -> Iterator[None]:
    """Inside the block the model sees nothing: its visual prefix is all zeros."""
    hook = model.language_projection.register_forward_hook(lambda module, args, output: torch.zeros_like(output))
    try:
        yield
    finally:
        hook.remove()


@torch.inference_mode()
def answers(model: Any, processor: Any, samples: Sequence[Sample]) -> list[str]:
    """What the model answers to each sample."""
    inputs = processor(
        images=[sample.image for sample in samples],
        text=[PROMPT_TEMPLATE.format(sample.question) for sample in samples],
        padding=True,
        return_tensors="pt",
    ).to(model.device)
    generated = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    texts = processor.batch_decode(generated[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]


def evaluate(
    model: Any,
    processor: Any,
    samples: Sequence[Sample],
    batch: int = 100,
    tick: Callable[[int], None] = lambda n: None,
) -> dict[str, Any]:
    """Accuracy over all samples and by kind, seeing and blind; `tick` is told how many samples were done.

    Returns:
        `{"questions": int, "accuracy": float, "blind": float, "kinds": {kind: {"questions", "accuracy", "blind"}}}`
    """
    asked: Counter[str] = Counter()
    right: dict[str, Counter[str]] = {"accuracy": Counter(), "blind": Counter()}
    for start in range(0, len(samples), batch):
        chunk = [samples[i] for i in range(start, min(start + batch, len(samples)))]
        asked.update(sample.kind for sample in chunk)
        _count(right["accuracy"], chunk, answers(model, processor, chunk))
        with blinded(model):
            _count(right["blind"], chunk, answers(model, processor, chunk))
        tick(len(chunk))
    total = sum(asked.values())
    kinds = {
        kind: {"questions": asked[kind], **{name: right[name][kind] / asked[kind] for name in right}}
        for kind in sorted(asked)
    }
    return {"questions": total, **{name: sum(right[name].values()) / total for name in right}, "kinds": kinds}


def _count(right: Counter[str], samples: Sequence[Sample], said: list[str]) -> None:
    right.update(sample.kind for sample, text in zip(samples, said, strict=True) if text in sample.answers)
