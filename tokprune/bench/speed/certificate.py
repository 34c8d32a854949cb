"""The birth certificate of a row of speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tokprune.bench.certificate import BirthCertificate, weights_digest
from tokprune.bench.speed.block import Settings
from tokprune.bench.speed.clock import Clock
from tokprune.bench.surroundings import package_version, processor_name, surroundings

RANDOM = "random"
"""What stands for the weights of a model that was made here."""


@dataclass(frozen=True)
class SpeedCertificate(BirthCertificate):
    """Where a row of speed comes from."""

    MAY_DIFFER: ClassVar[frozenset[str]] = frozenset({"date", "command", "repeats", "warm_up"})
    """What moves no median."""

    model: str
    revision: str
    """The commit of the hub snapshot, or empty for a model that does not come from the hub."""
    weights: str
    """Digest of the loaded weights, or `"random"`."""
    seed: int
    prompt_tokens: int
    max_new_tokens: int
    beams: int
    repeats: int
    warm_up: int
    clock: str
    """Wall clock, CPU time, or device events."""
    device: str
    processor: str
    dtype: str
    attention: str
    """The attention implementation of the model and, where it differs, of its parts."""
    tokprune: str
    torch: str
    transformers: str
    triton: str
    """Empty where it is not installed."""
    python: str
    threads: int
    date: str
    command: str


def certify_speed(
    model: Any, settings: Settings, clock: Clock, *, name: str, random_weights: bool, seed: int, prompt_tokens: int
) -> SpeedCertificate:
    """The certificate of rows measured now, in this process, on this model."""
    return SpeedCertificate(
        model=name,
        weights=RANDOM if random_weights else weights_digest(model),
        seed=seed,
        prompt_tokens=prompt_tokens,
        max_new_tokens=settings.max_new_tokens,
        beams=settings.beams,
        repeats=settings.repeats,
        warm_up=settings.warm_up,
        clock=clock.name,
        processor=processor_name(),
        triton=package_version("triton"),
        **surroundings(model),
    )
