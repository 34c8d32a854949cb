"""Noise: questions about pictures of nothing, where only shapes and times matter, not answers."""

from __future__ import annotations

from random import Random

from PIL import Image

from tokprune.samples import Sample


def noise_samples(n: int, seed: int = 0, size: int = 64) -> list[Sample]:
    """`n` pictures of random pixels, `size` pixels wide and high, each with the same question."""
    random = Random(seed)
    return [
        Sample(
            f"noise-{i}",
            Image.frombytes("RGB", (size, size), random.randbytes(3 * size * size)),
            "what is this?",
            ("noise",),
        )
        for i in range(n)
    ]
