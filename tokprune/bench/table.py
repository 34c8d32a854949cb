"""Tables of rows: for a console, for Markdown, for a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tokprune.bench.row import Row

_COLUMNS = ("scorer", "keep", "positions", "tokens kept", "sequence", "accuracy %", "95% interval", "p vs unpruned")
_LEFT = frozenset({"scorer", "positions"})


def keep_text(keep: float | int | None) -> str:
    """`0.25` for a keep ratio, `8 tokens` for a keep count, a dash for none."""
    if keep is None:
        return "-"
    return f"{keep} tokens" if isinstance(keep, int) else f"{keep:g}"


def cells(row: Row) -> tuple[str, ...]:
    """One row of a table, as text, in the order of its columns."""
    low, high = row.accuracy.interval
    sequence = f"{row.length_before:.1f}"
    if row.length_after != row.length_before:
        sequence += f" → {row.length_after:.1f}"
    return (
        row.label,
        keep_text(row.keep),
        row.positions or "-",
        f"{row.tokens_kept:.4g} of {row.tokens:.4g}",
        sequence,
        f"{100 * row.accuracy.fraction:.1f}",
        f"{100 * low:.1f} to {100 * high:.1f}",
        p_text(row.p_value),
    )


def p_text(p_value: float | None) -> str:
    """A p-value with two digits, or as an upper bound where it is tiny."""
    if p_value is None:
        return "-"
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def console_table(rows: Sequence[Row], title: str | None = None) -> Table:
    """The rows as a rich table."""
    table = Table(title=title, caption=_caption(rows))
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in _LEFT else "right", no_wrap=column == "scorer")
    for row in rows:
        table.add_row(*cells(row), end_section=row.policy is None and row is not rows[-1])
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The rows, the accuracy by kind of question, and the birth certificate, as Markdown."""
    kinds = sorted({kind for row in rows for kind in row.kinds} - {""})
    parts = [_markdown_table(_COLUMNS, [cells(row) for row in rows]), _caption(rows)]
    if kinds:
        by_kind = [(row.label, keep_text(row.keep), row.positions or "-", *_by_kind(row, kinds)) for row in rows]
        parts += [
            "Accuracy in % by kind of question:",
            _markdown_table(("scorer", "keep", "positions", *kinds), by_kind),
        ]
    certificate = {name: str(value) for name, value in rows[-1].certificate.items() if value != ""}
    parts += ["Birth certificate:", _markdown_table(("what", "value"), list(certificate.items()))]
    return "\n\n".join(parts) + "\n"


def write_csv(rows: Sequence[Row], path: str | Path) -> None:
    """Writes the rows as CSV: plain numbers, one column per kind of question and per entry of the certificate."""
    records = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for record in records for name in record))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(records)


def _flat(row: Row) -> dict[str, Any]:
    values = row.to_dict()
    kinds, certificate, policy = values.pop("kinds"), values.pop("certificate"), values.pop("policy")
    values.pop("outcomes")
    policy_columns = {f"policy {name}": value for name, value in (policy or {}).items() if name not in values}
    kind_columns = {f"accuracy {kind}": right / asked for kind, (right, asked) in kinds.items() if kind}
    flat: dict[str, Any] = values | kind_columns | policy_columns | certificate
    return flat


def _by_kind(row: Row, kinds: Sequence[str]) -> list[str]:
    pairs = [row.kinds.get(kind) for kind in kinds]
    return ["-" if pair is None else f"{100 * pair[0] / pair[1]:.1f}" for pair in pairs]


def _caption(rows: Sequence[Row]) -> str:
    return (
        f"{rows[0].accuracy.total} questions. Interval: Wilson. p: exact McNemar test on the same questions, not "
        "corrected. Sequence: tokens that entered the language model, mean, padding included."
    )


def _markdown_table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    ruler = ["---" if column in _LEFT or column in ("what", "value") else "---:" for column in columns]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in [columns, ruler, *lines])
