"""The note of a measurement on the bundled model: words, a table, and the birth certificate behind them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokprune.bench.certificate import certify
from tokprune.zoo import PROMPT_TEMPLATE

FACTS = ("model", "weights", "data", "questions", "n", "seed", "device", "dtype", "tokprune", "torch", "transformers")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose first column is words and the others are numbers."""
    return ["| " + " | ".join(row) + " |" for row in [head, ("---", *["---:"] * (len(head) - 1)), *rows]]


def birth_certificate(model: Any, samples: Any, seed: int, script: str) -> str:
    """One line: what was measured on what, and by which script."""
    values = certify(
        model,
        name="blip2-shapes",
        data="shapes-vqa",
        samples=samples,
        seed=seed,
        template=PROMPT_TEMPLATE,
        max_new_tokens=0,
        batch_size=len(samples),
    ).to_dict()
    facts = ", ".join(f"{name} {values[name]}" for name in FACTS)
    return f"Birth certificate: {facts}; `python docs/scripts/{script}`."


def write_result(folder: Path, data: str, table: Sequence[Sequence[str]], note: Sequence[str]) -> None:
    """Write the table as `data` and the note beside it, and show the note."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / data).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table)
    (folder / "note.md").write_text("\n".join(note) + "\n", encoding="utf-8")
    print("\n".join(note))
