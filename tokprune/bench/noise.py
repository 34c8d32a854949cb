"""Noise: questions about pictures and sounds of nothing, where only shapes and times matter, not answers."""

from __future__ import annotations

from random import Random

from PIL import Image

from tokprune.samples import Sample, Sound


def noise_samples(n: int, seed: int = 0, size: int = 64) -> list[Sample]:
    """`n` pictures of random pixels, `size` pixels wide and high, and sounds, each with the same question."""
    random = Random(seed)
    return [
        Sample(
            f"noise-{i}",
            Image.frombytes("RGB", (size, size), random.randbytes(3 * size * size)),
            "what is this?",
            ("noise",),
            sound=_sound(Random(i)),
        )
        for i in range(n)
    ]


def _sound(random: Random) -> Sound:
    """A second of a random wave."""
    import numpy as np

    values = np.frombuffer(random.randbytes(16000), dtype=np.int8) / np.float32(128)
    return Sound(values.astype(np.float32), 16000)
