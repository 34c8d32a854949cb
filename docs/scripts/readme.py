"""The README with its table filled in from docs/results/demo, the folder that `make demo` writes, once it is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "docs" / "results" / "demo"
MARKED = re.compile(r"(<!-- table:begin -->\n).*?(<!-- table:end -->)", re.DOTALL)


def render() -> str:
    """The README as it ought to be."""
    from summary import read_rows, table

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    if not (DEMO / "rows.jsonl").exists():
        return text
    filled, count = MARKED.subn(lambda m: f"{m[1]}{table(read_rows(DEMO))}\n{m[2]}", text)
    if count != 1:
        raise ValueError(f"README.md must hold one place for the table, found {count}")
    return filled
