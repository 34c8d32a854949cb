"""The rows in docs/results were written by releases before this one; they must not rot."""

import json
from pathlib import Path

import pytest

from tokprune.bench.contest import Contestant
from tokprune.bench.row import Row
from tokprune.bench.table import markdown
from tokprune.policy import Policy

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def lines(folder):
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


FOLDERS = [path.parent for path in sorted(RESULTS.glob("*/rows.jsonl")) if "outcomes" in lines(path.parent)[0]]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_rows_still_load_and_make_the_same_table(folder):
    rows = [Row.from_dict(line) for line in lines(folder)]
    assert markdown(rows) == (folder / "table.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_policies_of_rows_can_still_be_applied_and_found_in_a_store(folder):
    for row in map(Row.from_dict, lines(folder)):
        if isinstance(row.policy, dict):
            policy = Policy.from_dict(row.policy)
        elif row.policy:
            policy = tuple(map(Policy.from_dict, row.policy))
        else:
            continue
        assert Contestant(row.label, policy).key == Contestant.key_of(row)


def test_there_are_published_rows():
    assert {"demo", "by-layer", "shapes-vqa"} <= {folder.name for folder in FOLDERS}
