"""Roofline: how long a call takes at least, on a machine with so much arithmetic and so much bandwidth."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tokprune.bench.costs import Costs
from tokprune.bench.flops import Cost
from tokprune.errors import InvalidValueError


@dataclass(frozen=True)
class Machine:
    """What a device reaches in practice. A run takes as long as the slower of its arithmetic and its reading.

    Nothing else takes time here: no launch of a kernel, no activation written to memory, no token chosen. So this is
    an estimate from arithmetic, good for where the time goes and for what pruning can gain at most. Roofline model:
    Williams, Waterman and Patterson, doi:10.1145/1498765.1498785.

    The defaults are 60% of the arithmetic (989 TFLOP/s, dense bfloat16) and 80% of the bandwidth (4.8 TB/s) on an
    NVIDIA H200's data sheet.

    Args:
        flop_rate: Floating-point operations in a second.
        bandwidth: Bytes read in a second.
        bytes_per_number: Of weights and cache; 2 is bfloat16.

    Raises:
        InvalidValueError: One of them is not above 0.

    Example:
        A token that 1.3 G weights have to be read for takes as long alone as with 50 others.

        >>> token = Cost(flops=2_600_000_000, weights=1_300_000_000)
        >>> costs = Costs(encoder=(), connector=(), prefill=(), decode=(token,))
        >>> [round(1e3 * Machine().seconds(costs, batch)["decode"], 2) for batch in (1, 51, 510)]
        [0.68, 0.68, 2.23]
    """

    flop_rate: float = 0.6 * 989e12
    bandwidth: float = 0.8 * 4.8e12
    bytes_per_number: int = 2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise InvalidValueError(f"machine: expected {name} to be a number above 0, got {value!r}")

    def seconds(self, costs: Costs, batch: int) -> dict[str, float]:
        """Name of the stage -> seconds that it takes for a whole batch, at least."""
        return {name: sum(max(self._times(run, batch)) for run in runs) for name, runs in costs.stages.items()}

    def waits_for_memory(self, costs: Costs, batch: int) -> dict[str, bool]:
        """Name of the stage -> whether reading weights and cache takes longer than its arithmetic."""
        waits = {}
        for name, runs in costs.stages.items():
            times = [self._times(run, batch) for run in runs]
            waits[name] = sum(reading for _, reading in times) > sum(computing for computing, _ in times)
        return waits

    def _times(self, run: Cost, batch: int) -> tuple[float, float]:
        """Seconds of arithmetic and seconds of reading; they overlap, so the longer one counts."""
        read = self.bytes_per_number * (run.weights + batch * run.cache)
        return batch * run.flops / self.flop_rate, read / self.bandwidth
