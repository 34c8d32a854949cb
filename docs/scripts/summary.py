"""A short table from the rows of `tokprune bench`, as Markdown or for a terminal: a line per scorer, a column per keep.

python docs/scripts/summary.py FOLDER
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table

Rows = list[dict[str, Any]]

NEXT = ".venv/bin/tokprune answer --scorer focus --scorer random --keep 1/4"


def read_rows(folder: Path) -> Rows:
    """The rows that `tokprune bench --out FOLDER` wrote."""
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


class Line(NamedTuple):
    """One line of the table: what it is about, what is to be said about that, its cells, and whether it is a level."""

    name: str
    note: str
    cells: list[str]
    level: bool = False
    """Of a model that no keep changes: unpruned, or blind."""


def lines(rows: Rows) -> tuple[list[str], list[Line]]:
    """The columns; and accuracy in % with its 95% interval, best scorer first. Seeds of `random` share one line."""
    several = len({row["positions"] for row in rows if row["policy"]}) > 1
    groups: dict[str, dict[str, Rows]] = {}
    for row in rows:
        if row["policy"]:
            name = re.sub(r"^random(:seed=\d+)?$", "random", row["label"])
            name += f" ({row['positions']})" if several else ""
            groups.setdefault(name, {}).setdefault(_keep(row), []).append(row)
    keeps = list(dict.fromkeys(_keep(row) for row in rows if row["policy"]))
    best = sorted(groups, key=lambda name: -mean(r["accuracy"] for same in groups[name].values() for r in same))
    found = [_level(row, len(keeps), f", all {row['tokens']:g} tokens") for row in rows if row["label"] == "unpruned"]
    for name in best:
        seeds = max(len(same) for same in groups[name].values())
        note = f", mean of {seeds} seeds" if seeds > 1 else ""
        found.append(Line(name, note, [_accuracy(groups[name].get(keep, [])) for keep in keeps]))
    return keeps, found + [_level(row, len(keeps)) for row in rows if row["label"] == "blind"]


def table(rows: Rows) -> str:
    """The lines as Markdown, for the README."""
    keeps, found = lines(rows)
    cells = [["scorer", *keeps], ["---", *["---:"] * len(keeps)]]
    for name, note, accuracies, level in found:
        cells.append([f"*{name}{note}*" if level else f"`{name}`{note}", *accuracies])
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n\n" + _caption(rows)


def terminal_table(rows: Rows) -> Table:
    """The lines for a terminal, 80 columns wide if need be."""
    keeps, found = lines(rows)
    seeds = "" if not any("seeds" in line.note for line in found) else " Of seeds: the lowest and the highest."
    shown = Table(caption=_caption(rows) + seeds, caption_justify="left", box=SIMPLE_HEAD)
    shown.add_column("scorer")
    for keep in keeps:
        shown.add_column(keep.replace(": ", ":\n"), justify="right", no_wrap=True)
    for line, following in zip(found, [*found[1:], None], strict=True):
        border = following is not None and following.level != line.level
        short = [cell.replace("seeds: ", "").replace(" to ", "-") for cell in line.cells]
        shown.add_row(line.name + line.note, *short, end_section=border)
    return shown


def _level(row: dict[str, Any], columns: int, note: str = "") -> Line:
    return Line(row["label"], note, [_accuracy([row])] * columns, level=True)


def _keep(row: dict[str, Any]) -> str:
    kept = f"{row['tokens_kept']:.4g} of {row['tokens']:.4g} tokens"
    names = {0.5: "1/2", 0.25: "1/4", 0.125: "1/8"}
    return kept if isinstance(row["keep"], int) else f"{names.get(row['keep'], row['keep'])}: {kept}"


def _accuracy(rows: Rows) -> str:
    if not rows:
        return "-"
    if len(rows) > 1:  # an interval of the mean would need more than a handful of seeds, so show the seeds
        seeds = sorted(100 * row["accuracy"] for row in rows)
        return f"{mean(seeds):.1f} (seeds: {seeds[0]:.1f} to {seeds[-1]:.1f})"
    row = rows[0]
    return f"{100 * row['accuracy']:.1f} ({100 * row['low']:.1f} to {100 * row['high']:.1f})"


def _caption(rows: Rows) -> str:
    c = rows[-1]["certificate"]
    return (
        f"Accuracy in % (95% Wilson interval) on {rows[0]['total']} questions of {c['data']}, seed {c['seed']}. "
        f"Blind: visual prefix zeroed. Measured with tokprune {c['tokprune']}, torch {c['torch']}, transformers "
        f"{c['transformers']}, {c['device']}, {c['dtype']}, attention {c['attention']}."
    )


def main(folder: Path) -> None:
    """Prints the table of a folder that `tokprune bench` wrote, where its picture is, and what to try next."""
    from tokprune.bench.console import stdout

    console = stdout()
    console.print()
    console.print(terminal_table(read_rows(folder)))
    console.print(f"\nThe picture: {folder / 'plot.png'}", highlight=False, soft_wrap=True)
    console.print(f"Next, one question and which tokens stay: {NEXT}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
