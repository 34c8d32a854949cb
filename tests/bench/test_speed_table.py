import csv
import io

import pytest
from PIL import Image
from rich.console import Console
from speedrows import CERTIFICATE, alone, block

from tokprune.bench.speed import plot as module
from tokprune.bench.speed.plot import plot_gain
from tokprune.bench.speed.results import write_results
from tokprune.bench.speed.table import console_tables, markdown, part_lines, whole_lines, write_csv
from tokprune.bench.speed.verdicts import verdicts
from tokprune.errors import InvalidValueError

GPU = CERTIFICATE.to_dict() | {"device": "NVIDIA H100"}


def test_a_line_per_block_says_what_choosing_costs_and_what_is_gained():
    (line,) = whole_lines(block())
    assert line == (
        "l2|norm keep=3",
        "1",
        "query 3 of 8",
        "12 (11.9 to 12.1)",
        "7.5 (7.46 to 7.54)",
        "10 (9.95 to 10.1)",
        "1.33 (1.32 to 1.35)",
        "1.60 (1.58 to 1.62)",
        "1.20 (1.19 to 1.21)",
    )


def test_a_brief_line_has_no_spread_of_times():
    (line,) = whole_lines(block(), brief=True)
    assert line[3:7] == ("12", "7.5", "10", "1.33 (1.32 to 1.35)")


def test_a_line_per_row_says_where_the_time_goes():
    lines = part_lines(block())
    assert [line[2] for line in lines] == ["unpruned", "oracle", "pruned"]
    assert lines[2][3:] == ("2", "0.5", "4", "3", "3.11", "2")


def test_the_unpruned_model_alone_has_dashes():
    assert whole_lines(alone())[0][2:] == ("all", "12 (11.9 to 12.1)", "-", "-", "-", "-", "-")
    assert part_lines(alone())[0][6] == "-", "no token after the first"
    assert verdicts(alone()) == []


def test_console_and_markdown_show_every_number():
    rows = [*block(), *block(16)]
    console = Console(file=io.StringIO(), width=200)
    for table in console_tables(rows, "tiny"):
        console.print(table)
    text = markdown(rows)
    for piece in ("1.33 (1.32 to 1.35)", "query 3 of 8", "16", "3.11", "unpruned / pruned", "each token ms"):
        assert piece in console.file.getvalue(), piece
        assert piece in text, piece
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("| policy")]
    assert [len(table) for table in tables] == [2 + 2, 2 + 6]
    assert {line.replace("\\|", "").count("|") for table in tables for line in table} == {10}
    assert "| threads | 1 |" in text
    assert "Backends that counted votes: reference." in text
    assert "| triton |" not in text, "what is empty is left out"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            {},
            "pays, unpruned / pruned is 1.20 (1.19 to 1.21). If choosing were free: 1.60 (1.58 to 1.62). Choosing "
            "costs more than it should: pruned / oracle is 1.33 (1.32 to 1.35), the goal is 1.10.",
        ),
        (
            {"pruned": 7.9},
            "pays, unpruned / pruned is 1.52 (1.50 to 1.53). If choosing were free: 1.60 (1.58 to 1.62).",
        ),
        (
            {"pruned": 7.9, "certificate": GPU},
            "pays, unpruned / pruned is 1.52 (1.50 to 1.53). If choosing were free: 1.60 (1.58 to 1.62). Choosing "
            "costs more than it should: pruned / oracle is 1.05 (1.04 to 1.06), the goal is 1.03.",
        ),
        (
            {"oracle": 11.5, "pruned": 11.95},
            "does not pay, unpruned / pruned is 1.00 (0.99 to 1.01). It would if choosing were free: 1.04 (1.03 to "
            "1.05).",
        ),
        (
            {"oracle": 12.0, "pruned": 12.3, "peaks": (2, 2, 3), "certificate": GPU},
            "does not pay, unpruned / pruned is 0.98 (0.97 to 0.99). Even if choosing were free it would be 1.00 "
            "(0.99 to 1.01). It needs more memory at the peak: 3 instead of 2 MiB.",
        ),
        (
            {"pruned": 7.9, "peaks": (2, 2, 2.01)},
            "pays, unpruned / pruned is 1.52 (1.50 to 1.53). If choosing were free: 1.60 (1.58 to 1.62).",
        ),
        (
            {"oracle": 12.0, "pruned": 12.3, "peaks": (None, None, None)},
            "does not pay, unpruned / pruned is 0.98 (0.97 to 0.99). Even if choosing were free it would be 1.00 "
            "(0.99 to 1.01).",
        ),
    ],
)
def test_the_words_follow_from_the_numbers(given, wanted):
    assert verdicts(block(**given)) == [f"Batch 1, l2|norm keep=3: {wanted}"]
    assert f"- Batch 1, l2|norm keep=3: {wanted}\n" in markdown(block(**given))


def test_csv_can_be_read_back(tmp_path):
    write_csv([*alone(), *block()], tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["variant"] for line in lines] == ["unpruned", "unpruned", "oracle", "pruned"]
    assert float(lines[3]["overhead"]) == 10 / 7.5
    assert float(lines[3]["decode seconds"]) == 0.006
    assert lines[3]["query backend"] == "reference"
    assert lines[0]["query kept"] == ""
    assert lines[0]["dtype"] == "float32"


def test_the_plot_has_the_measured_gain_and_the_one_that_is_possible(tmp_path):
    rows = [*block(16, unpruned=30.0), *block(1), *block(1, label="other"), *alone()]
    figure = module._gain_figure(rows)
    axes = figure.axes[0]
    drawn = {bars.get_label(): [bars.lines[0].get_linestyle(), *bars.lines[0].get_ydata()] for bars in axes.containers}
    assert drawn == {
        "_l2|norm keep=3": ["--", 1.6, 4.0],
        "l2|norm keep=3": ["-", 1.2, 3.0],
        "_other": ["--", 1.6],
        "other": ["-", 1.2],
    }
    for bars in axes.containers:
        for place, size in zip(bars.lines[0].get_xdata(), (1, 16), strict=False):
            assert abs(place / size - 1) < 0.15, "at its batch size, but for a little"
    shown = {text.get_text() for text in figure.legends[0].get_texts()}
    assert shown == {"l2|norm keep=3", "other", "if choosing were free"}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "16"]
    plot_gain(rows, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 20, "lines, bars and letters"
    with pytest.raises(InvalidValueError, match="at least one policy"):
        plot_gain(alone(), tmp_path / "plot.png")


def test_what_a_run_leaves(tmp_path):
    assert write_results(block(), tmp_path) == ["table.md", "table.csv", "plot.png"]
    assert {path.name for path in tmp_path.iterdir()} == {"table.md", "table.csv", "plot.png"}
    (tmp_path / "alone").mkdir()
    assert write_results(alone(), tmp_path / "alone") == ["table.md", "table.csv"]
