"""The README's table says what the rows of the benchmark say."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from . import places
from .test_commands import options_of


@pytest.fixture
def summary() -> ModuleType:
    spec = importlib.util.spec_from_file_location("summary_script", places.DOCS / "scripts" / "summary.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _row(label: str, keep: float | None, accuracy: float, positions: str = "compact") -> dict[str, Any]:
    certificate = dict.fromkeys(("data", "tokprune", "torch", "transformers", "device", "dtype", "attention"), "x")
    policy = None if keep is None else {"scorer": label}
    numbers = {"accuracy": accuracy, "low": accuracy - 0.01, "high": accuracy + 0.01, "total": 50}
    tokens = {"tokens": 32.0, "tokens_kept": 32 * (keep or 1.0)}
    named = {"label": label, "keep": keep, "positions": positions, "policy": policy}
    return {**named, **numbers, **tokens, "certificate": {**certificate, "seed": 0}}


ROWS = [
    _row("unpruned", None, 0.9),
    _row("blind", None, 0.3),
    _row("catp-vote", 0.5, 0.5),
    _row("catp-vote", 0.25, 0.4),
    _row("random", 0.5, 0.6),
    _row("random:seed=1", 0.5, 0.8),
]


def test_one_line_per_scorer_best_first(summary: ModuleType) -> None:
    lines = summary.table(ROWS).splitlines()
    first = [line.split("|")[1].strip() for line in lines[2:6]]
    assert first == ["*unpruned, all 32 tokens*", "`random`, mean of 2 seeds", "`catp-vote`", "*blind*"]
    assert lines[0] == "| scorer | 1/2: 16 of 32 tokens | 1/4: 8 of 32 tokens |"


def test_seeds_of_random_are_averaged_and_their_range_shown(summary: ModuleType) -> None:
    assert "| 70.0 (seeds: 60.0 to 80.0) | - |" in summary.table(ROWS)


def test_intervals_are_those_of_the_rows(summary: ModuleType) -> None:
    assert "| 50.0 (49.0 to 51.0) | 40.0 (39.0 to 41.0) |" in summary.table(ROWS)


def test_positions_are_told_apart(summary: ModuleType) -> None:
    table = summary.table([*ROWS, _row("catp-vote", 0.5, 0.2, "preserve")])
    assert "`catp-vote (compact)`" in table
    assert "`catp-vote (preserve)`" in table


def test_rows_are_read_from_the_folder_of_a_benchmark(summary: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS) + "\n")
    assert summary.read_rows(tmp_path) == ROWS


def test_what_the_demo_prints_last_suits_a_terminal(
    summary: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    summary.main(places.DOCS / "results" / "demo")
    shown = capsys.readouterr().out
    assert "|" not in shown  # no Markdown
    assert re.search(r"random, mean of 3 +85\.7 \(84\.3-86\.9\) ", shown)
    assert (picture := re.search(r"The picture: (.*)", shown))
    assert Path(picture[1]).is_file()
    program, command, *options = summary.NEXT.split()
    assert program == ".venv/bin/tokprune"
    assert {word for word in options if word.startswith("--")} <= options_of(command)


@pytest.mark.parametrize("page", ["README.md", "docs/concepts.md"])
def test_the_correlation_that_pages_quote_is_the_measured_one(page: str) -> None:
    lines = (places.DOCS / "results" / "entropy" / "correlation.csv").read_text(encoding="utf-8").splitlines()
    measured = {cells[0]: cells[1] for cells in (line.split(",") for line in lines)}["catp-vote"]
    assert re.search(rf"correlat\w+ {re.escape(measured)}\b", (places.ROOT / page).read_text(encoding="utf-8"))
