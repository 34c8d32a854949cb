"""Ways of counting votes, compared: each counts right, and one that does not is found out."""

import csv
import json

import pytest
import torch
from scipy.stats import rankdata

from tokprune import InvalidValueError
from tokprune.bench import kernels, rivals
from tokprune.functional import attention_probabilities

SIZES = {"count": 2, "batch_size": 2, "heads": 2, "queries": 5, "keys": 7, "dim": 4}
both_sides = pytest.mark.parametrize("candidates", ["query", "key"])


def made(dtype=torch.float32):
    return kernels.make_layers(**SIZES, dtype=dtype, device=torch.device("cpu"))


def by_hand(layers, candidates, ranked):
    total = 0.0
    for query, key in layers:
        votes = attention_probabilities(query, key, 4**-0.5)
        votes = votes.transpose(2, 3) if candidates == "query" else votes
        ballots = torch.from_numpy(rankdata(votes.numpy(), axis=-1) - 1) if ranked else votes.double()
        total = total + ballots.sum(dim=(1, 2))
    return total.float()


@both_sides
@pytest.mark.parametrize(
    "way", [rivals.points_by_double_argsort, rivals.points_row_by_row, rivals.points_by("reference")]
)
def test_every_way_ranks_the_ballots_of_all_layers(way, candidates):
    assert torch.equal(way(made(), candidates), by_hand(made(), candidates, ranked=True))


@both_sides
@pytest.mark.parametrize("way", [rivals.total_of_maps, rivals.total_by("reference")])
def test_every_way_adds_up_the_votes_of_all_layers(way, candidates):
    torch.testing.assert_close(way(made(), candidates), by_hand(made(), candidates, ranked=False))


def test_layers_look_as_projections_make_them():
    (query, key), _ = made(torch.bfloat16)
    assert (query.shape, key.shape) == ((2, 2, 5, 4), (2, 2, 7, 4))
    assert query.dtype == torch.bfloat16
    assert query.transpose(1, 2).is_contiguous()


def test_all_ways_are_timed_and_agree():
    calls = []
    rows = kernels.compare(made(), rounds=3, loop_rounds=2, round_done=lambda: calls.append(1))
    assert [row.way for row in rows] == [kernels.TORCH, kernels.MAPS, kernels.LOOP]
    assert [len(row.seconds) for row in rows] == [3, 3, 2]
    assert len(calls) == 8
    assert all(row.difference == 0 and row.captured_seconds is None for row in rows)
    assert rows[0].peak_bytes > 0
    assert (rows[0].layers, rows[0].batch_size, rows[0].keys, rows[0].dtype) == (2, 2, 7, "float32")
    totals = kernels.compare(made(), what="total", candidates="key", rounds=1)
    assert [row.way for row in totals] == [kernels.TORCH, kernels.SUMMED]


def test_a_way_that_counts_wrong_is_named(monkeypatch):
    def wrong(layers, candidates):
        return rivals.points_row_by_row(layers, candidates) + torch.arange(5)

    monkeypatch.setattr(kernels, "points_by_double_argsort", wrong)
    with pytest.raises(InvalidValueError, match=r"differ .*'maps, sorted twice': 0\.14"):
        kernels.compare(made(), rounds=1, loop=False)


def test_the_table_says_how_many_times_as_fast_each_way_is():
    rows = kernels.compare(made(), rounds=1, loop_rounds=1)
    rows = [kernels.Row(**{**vars(row), "seconds": [s]}) for row, s in zip(rows, (0.001, 0.002, 0.008), strict=True)]
    columns = kernels.results_table(rows).columns
    assert list(columns[3].cells) == ["8", "4", "1"]


def test_rows_pile_up_in_the_folder_and_the_table_has_all_of_them(tmp_path):
    for _ in range(2):
        kernels.save(kernels.compare(made(), rounds=2, loop=False), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    assert all(kernels.Row(**row).way for row in rows)
    with (tmp_path / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["way"] for row in table] == [kernels.TORCH, kernels.MAPS] * 2
    assert float(table[0]["ms"]) == pytest.approx(sum(rows[0]["seconds"]) / 2 * 1e3)


def test_the_command_prints_the_table_and_where_it_comes_from(capsys, tmp_path):
    small = {"batch_size": 1, "layers": 1, "heads": 1, "queries": 3, "keys": 4, "dim": 2, "rounds": 1}
    kernels.main(**small, out=tmp_path)
    printed = capsys.readouterr().out
    assert all(text in printed for text in (kernels.TORCH, kernels.LOOP, "batch_size 1", "clock wall clock"))
    assert (tmp_path / "rows.jsonl").exists()
