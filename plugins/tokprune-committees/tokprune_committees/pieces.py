"""How many voters are looked at a time, so that memory stays bounded however many there are."""

from __future__ import annotations

from collections.abc import Iterator

import torch

CPU_CELLS = 2**18
"""Most elements of an intermediate tensor on a CPU: 2 MiB in float64."""

DEVICE_CELLS = 2**24
"""The same on other devices: 128 MiB in float64, enough to keep them busy."""


def pieces(voters: int, cells: int, device: torch.device) -> Iterator[slice]:
    """Slices that cover `voters` voters, of whom each needs `cells` elements.

    Example:
        >>> list(pieces(5, CPU_CELLS // 2, torch.device("cpu")))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, (CPU_CELLS if device.type == "cpu" else DEVICE_CELLS) // max(1, cells))
    for start in range(0, voters, step):
        yield slice(start, min(voters, start + step))
