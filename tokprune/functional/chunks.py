"""How much is computed at a time, so that memory stays bounded however large the input is."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CPU_CELLS = 2**18
"""Most elements of an intermediate tensor on a CPU: 1 MiB in float32, about what a core's own cache holds. Ranking
12 x 32 x 257 votes takes twice as long with 2**15 (more calls) and no less time with 2**20 (more memory)."""

DEVICE_CELLS = 2**24
"""The same on other devices: 64 MiB in float32, enough to keep them busy."""


EVERYTHING = 2**62
"""While `torch.jit.trace` records: it would record the slices of this call, and leave out what others have more."""


def is_traced() -> bool:
    """Whether `torch.jit.trace` records this call."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def cells(tensor: Tensor) -> int:
    """Most elements of an intermediate tensor on the device of `tensor`; only a single voter may need more."""
    if is_traced():
        return EVERYTHING
    return CPU_CELLS if tensor.device.type == "cpu" else DEVICE_CELLS


def spans(length: int, step: int) -> Iterator[slice]:
    """Slices of at most `step` that cover `length`.

    Example:
        >>> list(spans(5, 2))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, length, max(1, step)):
        yield slice(start, min(length, start + max(1, step)))
