"""A short table from the rows of `tokprune bench`: one line per scorer, one column per keep.

python docs/scripts/summary.py FOLDER
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from statistics import mean
from typing import Any

Rows = list[dict[str, Any]]


def read_rows(folder: Path) -> Rows:
    """The rows that `tokprune bench --out FOLDER` wrote."""
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


def table(rows: Rows) -> str:
    """Accuracy in % with its 95% interval, best scorer first, as Markdown. Seeds of `random` share one line."""
    several = len({row["positions"] for row in rows if row["policy"]}) > 1
    groups: dict[str, dict[str, Rows]] = {}
    for row in rows:
        if row["policy"]:
            name = re.sub(r"^random(:seed=\d+)?$", "random", row["label"])
            name += f" ({row['positions']})" if several else ""
            groups.setdefault(name, {}).setdefault(_keep(row), []).append(row)
    keeps = list(dict.fromkeys(_keep(row) for row in rows if row["policy"]))
    best = sorted(groups, key=lambda name: -mean(r["accuracy"] for same in groups[name].values() for r in same))
    lines = [["scorer", *keeps], ["---", *["---:"] * len(keeps)]]
    lines += [_level(row, len(keeps), f", all {row['tokens']:g} tokens") for row in rows if row["label"] == "unpruned"]
    for name in best:
        seeds = max(len(same) for same in groups[name].values())
        shown = f"`{name}`" + (f", mean of {seeds} seeds" if seeds > 1 else "")
        lines.append([shown, *(_accuracy(groups[name].get(keep, [])) for keep in keeps)])
    lines += [_level(row, len(keeps)) for row in rows if row["label"] == "blind"]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n" + _caption(rows)


def _level(row: dict[str, Any], columns: int, more: str = "") -> list[str]:
    """A model that no keep changes."""
    return [f"*{row['label']}{more}*", *[_accuracy([row])] * columns]


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


if __name__ == "__main__":
    print(f"\n{table(read_rows(Path(sys.argv[1])))}")
