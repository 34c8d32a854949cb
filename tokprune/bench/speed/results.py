"""What a run leaves in its folder besides its rows: tables and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokprune.bench.speed.plot import plot_gain
from tokprune.bench.speed.row import SpeedRow
from tokprune.bench.speed.table import markdown, write_csv


def write_results(rows: Sequence[SpeedRow], folder: Path) -> list[str]:
    """Writes table.md, table.csv and, if anything was pruned, plot.png; returns their names."""
    (folder / "table.md").write_text(markdown(rows), encoding="utf-8", errors="backslashreplace")
    write_csv(rows, folder / "table.csv")
    if not any(row.policies for row in rows):
        return ["table.md", "table.csv"]
    plot_gain(rows, folder / "plot.png")
    return ["table.md", "table.csv", "plot.png"]
