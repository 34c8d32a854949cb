"""Tables of speed: for a console, for Markdown, for a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.markup import escape
from rich.table import Table

from tokprune.bench.speed.block import ORACLE, PRUNED, UNPRUNED
from tokprune.bench.speed.quartiles import quartiles, three_digits
from tokprune.bench.speed.row import SpeedRow
from tokprune.bench.speed.stages import STAGES
from tokprune.bench.speed.verdicts import blocks_of, mebibytes, verdicts

WHOLE = (
    "policy",
    "batch",
    "tokens kept",
    "unpruned ms",
    "oracle ms",
    "pruned ms",
    "pruned / oracle",
    "unpruned / oracle",
    "unpruned / pruned",
)
PARTS = ("policy", "batch", "variant", "encoder ms", "connector ms", "prefill ms", "each token ms", "GFLOP", "peak MiB")
LEFT = frozenset({"policy", "tokens kept", "variant", "what", "value"})

WHOLE_CAPTION = (
    "Whole generate calls in turns, median (middle half). Oracle: the same model handed the kept tokens for nothing; "
    "pruned / oracle is what choosing costs, unpruned / oracle what could be gained at most, unpruned / pruned what is."
)
PARTS_CAPTION = (
    "Medians of calls of their own with marks at the borders of stages. What leaves inside the image encoder is scored "
    "and cut in 'encoder', all else in 'prefill'. GFLOP: the whole call, matrix products, convolutions and attention. "
    "Peak: above weights and inputs."
)


def whole_lines(rows: Sequence[SpeedRow], *, brief: bool = False) -> list[tuple[str, ...]]:
    """One line per block: the whole call. Brief ones have no spread of the times, only of their quotients."""
    return [_whole(block, brief) for block in blocks_of(rows)]


def part_lines(rows: Sequence[SpeedRow]) -> list[tuple[str, ...]]:
    """One line per row: its stages."""
    return [_part(row) for row in rows]


def _whole(block: Mapping[str, SpeedRow], brief: bool) -> tuple[str, ...]:
    times = [block[name].time.milliseconds if name in block else "-" for name in (UNPRUNED, ORACLE, PRUNED)]
    if brief:
        times = [time.partition(" ")[0] for time in times]
    first = block[UNPRUNED]
    overhead = quartiles(block[PRUNED].overhead).quotient if PRUNED in block else "-"
    gains = [quartiles(block[name].gain).quotient if name in block else "-" for name in (ORACLE, PRUNED)]
    kept = ", ".join(f"{target} {one['kept']:g} of {one['tokens']}" for target, one in first.targets.items())
    return first.label, str(first.batch_size), kept or "all", *times, overhead, *gains


def _part(row: SpeedRow) -> tuple[str, ...]:
    milliseconds = [three_digits(median(row.stages[stage]) * 1e3) for stage in STAGES[:3]]
    token = "-" if row.token_seconds is None else three_digits(row.token_seconds * 1e3)
    flops = three_digits(sum(row.flops.values()) / 1e9)
    return row.label, str(row.batch_size), row.variant, *milliseconds, token, flops, mebibytes(row.peak_memory)


def console_tables(rows: Sequence[SpeedRow], title: str | None = None) -> list[Table]:
    """The rows as two rich tables: whole calls, and their stages."""
    return [
        _console(WHOLE, whole_lines(rows, brief=True), title, WHOLE_CAPTION),
        _console(PARTS, part_lines(rows), "Where the time goes", PARTS_CAPTION),
    ]


def _console(columns: Sequence[str], lines: Sequence[Sequence[str]], title: str | None, caption: str) -> Table:
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in LEFT else "right", overflow="fold")
    for line in lines:
        table.add_row(*map(escape, line))
    return table


def markdown(rows: Sequence[SpeedRow]) -> str:
    """Both tables, the verdicts and the birth certificate, as Markdown."""
    certificate = {name: str(value) for name, value in rows[-1].certificate.items() if value != ""}
    parts = [
        _markdown(WHOLE, whole_lines(rows)),
        WHOLE_CAPTION,
        *(["\n".join(f"- {verdict}" for verdict in verdicts(rows))] if verdicts(rows) else []),
        "Where the time goes:",
        _markdown(PARTS, part_lines(rows)),
        PARTS_CAPTION,
        f"Weights: {mebibytes(rows[-1].weights_memory)} MiB. Backends that counted votes: {_backends(rows)}.",
        "Birth certificate:",
        _markdown(("what", "value"), list(certificate.items())),
    ]
    return "\n\n".join(parts) + "\n"


def _backends(rows: Sequence[SpeedRow]) -> str:
    return ", ".join(sorted({one["backend"] for row in rows for one in row.targets.values()})) or "none"


def _markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    ruler = ["---" if column in LEFT else "---:" for column in columns]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in [columns, ruler, *lines])


def write_csv(rows: Sequence[SpeedRow], path: str | Path) -> None:
    """Writes the rows as CSV: plain numbers, one column per stage and per entry of the certificate."""
    records = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for record in records for name in record))
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(records)


def _flat(row: SpeedRow) -> dict[str, Any]:
    flat: dict[str, Any] = {"label": row.label, "variant": row.variant, "batch_size": row.batch_size}
    for name, values in (("seconds", row.seconds), ("gain", row.gain), ("overhead", row.overhead)):
        if values:
            spread = quartiles(values)
            flat |= {f"{name} low": spread.low, name: spread.middle, f"{name} high": spread.high}
    flat |= {f"{stage} seconds": median(values) for stage, values in row.stages.items()}
    flat |= {"token seconds": row.token_seconds, "peak_memory": row.peak_memory, "weights_memory": row.weights_memory}
    flat |= {f"{stage} flops": count for stage, count in row.flops.items()}
    flat |= {f"{target} {name}": value for target, one in row.targets.items() for name, value in one.items()}
    return flat | row.certificate
