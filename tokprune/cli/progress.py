"""Progress of a contest: one bar for the rows, one for the samples of the row that is measured."""

from __future__ import annotations

from typing import Self

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tokprune.bench.console import stderr
from tokprune.bench.contest import Watcher
from tokprune.bench.row import Row
from tokprune.bench.table import keep_text


class Bars(Watcher):
    """Draws the bars on stderr while its block runs, and prints one line per finished row above them."""

    def __init__(self, samples: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=stderr()
        )
        self._rows = self._progress.add_task("rows", total=None)
        self._samples = self._progress.add_task("samples", total=samples)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def row_started(self, label: str, number: int, total: int) -> None:
        """Starts the samples' bar anew."""
        self._progress.update(self._rows, completed=number - 1, total=total)
        self._progress.reset(self._samples, description=escape(label))

    def samples_done(self, count: int) -> None:
        """Moves the samples' bar."""
        self._progress.advance(self._samples, count)

    def row_done(self, row: Row, measured: bool) -> None:
        """Prints the row's accuracy."""
        self._progress.advance(self._rows)
        source = f"{row.seconds:.1f} s" if measured else "found in the store"
        keep = f" keep {keep_text(row.keep)}" if row.keep is not None else ""
        line = f"{row.label}{keep}: {100 * row.accuracy.fraction:.1f}% ({source})"
        self._progress.console.print(escape(line), highlight=False)
