"""The accuracies of pruned image tokens that the README quotes are those of the recorded rows."""

from __future__ import annotations

import json
from statistics import mean
from typing import Any

from . import places

README = " ".join((places.ROOT / "README.md").read_text(encoding="utf-8").split())


def _rows(folder: str) -> list[dict[str, Any]]:
    text = (places.DOCS / "results" / folder / "rows.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _quoted(row: dict[str, Any]) -> str:
    low, high = (f"{100 * row[name]:.1f}" for name in ("low", "high"))
    return f"{100 * row['accuracy']:.1f}% ({low} to {high})"


def _pruned(label: str, keep: float) -> dict[str, Any]:
    (found,) = (
        row
        for row in _rows("image")
        if (row["label"], row["keep"]) == (label, keep) and row["policy"]["reduction"] == "prune"
    )
    return found


def test_received_attention_and_the_unpruned_model() -> None:
    assert f"{_quoted(_pruned('received-attention', 0.5))} with half of the image tokens" in README
    assert f"{_quoted(_pruned('received-attention', 0.25))} with a quarter" in README
    assert f"unpruned it is {100 * _rows('image')[0]['accuracy']:.1f}%" in README


def test_the_mean_of_random() -> None:
    seeds = ("random", "random:seed=1", "random:seed=2")
    half, quarter = (mean(100 * _pruned(seed, keep)["accuracy"] for seed in seeds) for keep in (0.5, 0.25))
    assert f"`random` gets {half:.1f}% and {quarter:.1f}%, means of three seeds" in README


def test_policies_together() -> None:
    rows = {row["label"]: row for row in _rows("composed")}
    both = rows["received-attention target=image keep=1/2 + first keep=1/2"]
    assert f"together give {_quoted(both)}, and `first` alone {_quoted(rows['first keep=1/2'])}" in README
