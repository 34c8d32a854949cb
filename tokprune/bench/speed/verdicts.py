"""Verdicts: in plain words, where pruning pays and where it does not. Every word follows from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokprune.bench.speed.block import ORACLE, PRUNED, UNPRUNED
from tokprune.bench.speed.quartiles import quartiles, three_digits
from tokprune.bench.speed.row import SpeedRow

OVERHEAD_GOALS = {"cpu": 1.10, "gpu": 1.03}
"""What pruned / oracle should not be above."""

MEMORY_TOLERANCE = 1.01
"""Peak memory that is higher by less is not worth a word."""


def verdicts(rows: Sequence[SpeedRow]) -> list[str]:
    """One sentence or more per block that pruned something.

    Pruning pays where the middle half of unpruned / pruned lies above 1.
    """
    return [_verdict(block) for block in blocks_of(rows) if PRUNED in block]


def blocks_of(rows: Sequence[SpeedRow]) -> list[Mapping[str, SpeedRow]]:
    """Rows by block, in order: variant -> row."""
    blocks: dict[tuple[int, str], dict[str, SpeedRow]] = {}
    for row in rows:
        blocks.setdefault(row.block, {})[row.variant] = row
    return list(blocks.values())


def overhead_goal(row: SpeedRow) -> float:
    """The goal for the device that the row was measured on."""
    return OVERHEAD_GOALS["cpu" if str(row.certificate["device"]).startswith("cpu") else "gpu"]


def _verdict(block: Mapping[str, SpeedRow]) -> str:
    pruned, oracle = block[PRUNED], block[ORACLE]
    gain, limit = quartiles(pruned.gain), quartiles(oracle.gain)
    overhead, goal = quartiles(pruned.overhead), overhead_goal(pruned)
    where = f"Batch {pruned.batch_size}, {pruned.label}:"
    if gain.low > 1:
        parts = [f"{where} pays, unpruned / pruned is {gain.quotient}. If choosing were free: {limit.quotient}."]
    else:
        parts = [f"{where} does not pay, unpruned / pruned is {gain.quotient}."]
        if limit.low > 1:
            parts.append(f"It would if choosing were free: {limit.quotient}.")
        else:
            parts.append(f"Even if choosing were free it would be {limit.quotient}.")
    if overhead.middle > goal:
        parts.append(
            f"Choosing costs more than it should: pruned / oracle is {overhead.quotient}, the goal is {goal:.2f}."
        )
    memory, before = pruned.peak_memory, block[UNPRUNED].peak_memory
    if memory is not None and before is not None and memory > MEMORY_TOLERANCE * before:
        parts.append(f"It needs more memory at the peak: {mebibytes(memory)} instead of {mebibytes(before)} MiB.")
    return " ".join(parts)


def mebibytes(size: int | None) -> str:
    """Bytes as MiB with three digits, a dash if they are not known."""
    return "-" if size is None else three_digits(size / 2**20)
