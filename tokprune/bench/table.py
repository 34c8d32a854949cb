"""Tables of rows: for a console, for Markdown, for a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from tokprune.bench.row import Row

_LEFT = frozenset({"scorer", "policies", "positions", "target", "after", "selector", "reduction"})
_USUAL = {"target": None, "after": None, "selector": "top-k", "reduction": "prune"}
"""What tables do not mention."""


def keep_text(keep: float | int | None) -> str:
    """`0.25` for a keep ratio, `8 tokens` for a keep count, a dash for none."""
    if keep is None:
        return "-"
    return f"{keep} tokens" if isinstance(keep, int) else f"{keep:g}"


def tokens_text(row: Row) -> str:
    """`8 of 32`, or `image 16 of 64, query 8 of 32` where several targets may be cut."""
    return ", ".join(f"{target} {kept:.4g} of {before:.4g}".strip() for target, before, kept in row.counts)


def after_text(after: Any) -> str:
    """Behind which layers tokens leave, as it is typed; a dash for the adapter's default."""
    if isinstance(after, list | tuple):
        return ",".join(map(str, after))
    return f"{after:.3g}" if isinstance(after, float) else str(after or "-")


def told_apart(rows: Sequence[Row]) -> list[str]:
    """Which of target, after, selector and reduction a table of these rows has to mention.

    Rows of a list of policies are called by all that was asked for, so there is nothing to add.
    """
    policies = [row.policy for row in rows if isinstance(row.policy, dict)]
    return [name for name, usual in _USUAL.items() if any(policy.get(name, usual) != usual for policy in policies)]


def field_text(row: Row, name: str) -> str:
    """A field of the policy as tables show it; a dash for a row that has none."""
    value = row.policy.get(name) if isinstance(row.policy, dict) else None
    return after_text(value) if name == "after" else str(value or "-")


def _who(rows: Sequence[Row]) -> dict[str, Callable[[Row], str]]:
    """Column -> its text, for the columns that say what a row is about."""
    if not any(isinstance(row.policy, dict) for row in rows) and any(row.policy for row in rows):
        return {"policies": lambda row: row.label}
    return {
        "scorer": lambda row: row.label,
        "keep": lambda row: keep_text(row.keep),
        "positions": lambda row: row.positions or "-",
        **{name: partial(field_text, name=name) for name in told_apart(rows)},
    }


_WHAT: dict[str, Callable[[Row], str]] = {
    "tokens kept": tokens_text,
    "sequence": lambda row: " → ".join(
        f"{length:.1f}" for length in dict.fromkeys((row.length_before, row.length_after)) if length is not None
    ),
    "accuracy %": lambda row: f"{100 * row.accuracy.fraction:.1f}",
    "95% interval": lambda row: " to ".join(f"{100 * end:.1f}" for end in row.accuracy.interval),
    "p vs unpruned": lambda row: p_text(row.p_value),
}
"""Column -> its text, for the columns that say what was measured."""


def _what(rows: Sequence[Row]) -> dict[str, Callable[[Row], str]]:
    """The columns of what was measured: of transcripts the word error rate too."""
    if not any(row.word_errors for row in rows):
        return _WHAT
    columns = list(_WHAT.items())
    rate = ("WER %", lambda row: "" if row.word_error_rate is None else f"{100 * row.word_error_rate:.1f}")
    return dict([*columns[:2], rate, *columns[2:]])


def p_text(p_value: float | None) -> str:
    """A p-value with two digits, or as an upper bound where it is tiny."""
    if p_value is None:
        return "-"
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def console_table(rows: Sequence[Row], title: str | None = None) -> Table:
    """The rows as a rich table."""
    table = Table(title=title, caption=_caption(rows))
    columns = _who(rows) | _what(rows)
    for column in columns:
        table.add_column(column, justify="left" if column in _LEFT else "right", no_wrap=column == "scorer")
    for row in rows:
        table.add_row(*_cells(row, columns), end_section=row.policy is None and row is not rows[-1])
    return table


def markdown(rows: Sequence[Row]) -> str:
    """The rows, the accuracy by kind of question, and the birth certificate, as Markdown."""
    kinds = sorted({kind for row in rows for kind in row.kinds} - {""})
    who = _who(rows)
    columns = who | _what(rows)
    parts = [_markdown_table([*columns], [_cells(row, columns) for row in rows]), _caption(rows)]
    if kinds:
        by_kind = [[*_cells(row, who), *_by_kind(row, kinds)] for row in rows]
        parts += ["Accuracy in % by kind of question:", _markdown_table([*who, *kinds], by_kind)]
    certificate = {name: str(value) for name, value in rows[-1].certificate.items() if value != ""}
    parts += ["Birth certificate:", _markdown_table(("what", "value"), list(certificate.items()))]
    return "\n\n".join(parts) + "\n"


def write_csv(rows: Sequence[Row], path: str | Path) -> None:
    """Writes the rows as CSV: plain numbers, one column per kind of question and per entry of the certificate."""
    records = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(name for record in records for name in record))
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(records)


def _flat(row: Row) -> dict[str, Any]:
    values = row.to_dict()
    kinds, certificate, policy = values.pop("kinds"), values.pop("certificate"), values.pop("policy")
    values.pop("outcomes")
    values.pop("word_errors", None)
    for name in ("tokens", "tokens_kept"):
        if isinstance(values[name], dict):
            values |= {f"{name} {target}": count for target, count in values.pop(name).items()}
    if isinstance(policy, list):
        policy_columns = {f"policy {n} {k}": v for n, one in enumerate(policy, start=1) for k, v in one.items()}
    else:
        policy_columns = {f"policy {name}": value for name, value in (policy or {}).items() if name not in values}
    kind_columns = {f"accuracy {kind}": right / asked for kind, (right, asked) in kinds.items() if kind}
    flat: dict[str, Any] = values | kind_columns | policy_columns | certificate
    return flat


def _cells(row: Row, columns: Mapping[str, Callable[[Row], str]]) -> list[str]:
    return [text(row) for text in columns.values()]


def _by_kind(row: Row, kinds: Sequence[str]) -> list[str]:
    pairs = [row.kinds.get(kind) for kind in kinds]
    return ["-" if pair is None else f"{100 * pair[0] / pair[1]:.1f}" for pair in pairs]


def _caption(rows: Sequence[Row]) -> str:
    return (
        f"{rows[0].accuracy.total} questions. Interval: Wilson. p: exact McNemar test on the same questions, not "
        "corrected. "
        + (
            "Sequence: tokens that entered the language model, mean, padding included."
            if any(row.length_after is not None for row in rows)
            else "Sequence: not measured, because this model's decoder looks at the tokens from outside."
        )
        + (
            " WER: wrong words of all words in the transcripts. Accuracy: transcripts without a wrong word."
            if any(row.word_errors for row in rows)
            else ""
        )
    )


def _markdown_table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    ruler = ["---" if column in _LEFT or column in ("what", "value") else "---:" for column in columns]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in [columns, ruler, *lines])
