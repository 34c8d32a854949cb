"""Progress of `tokprune speed`: one bar for the blocks, one for the calls of the block that is measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tokprune.bench.console import stderr
from tokprune.bench.speed.row import SpeedRow
from tokprune.bench.speed.run import Entry, Listener


class SpeedBars(Listener):
    """Draws the bars on stderr while its block runs, and prints one line per finished block above them."""

    def __init__(self, blocks: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=stderr()
        )
        self._blocks = self._progress.add_task("blocks", total=blocks)
        self._calls = self._progress.add_task("calls", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def block_started(self, entry: Entry, batch_size: int, calls: int) -> None:
        """Starts the calls' bar anew."""
        self._progress.reset(self._calls, total=calls, description=escape(f"batch {batch_size}, {entry.label}"))

    def call_done(self) -> None:
        """Moves the calls' bar."""
        self._progress.advance(self._calls)

    def block_done(self, rows: Sequence[SpeedRow], measured: bool) -> None:
        """Prints the block's times."""
        self._progress.advance(self._blocks)
        times = ", ".join(f"{row.variant} {row.time.milliseconds} ms" for row in rows)
        source = "" if measured else " (found in the store)"
        line = f"batch {rows[0].batch_size}, {rows[0].label}: {times}{source}"
        self._progress.console.print(escape(line), highlight=False)
