import csv
import io

import pytest
from PIL import Image
from rich.console import Console
from rows import some_rows

from tokprune.bench.plot import plot_accuracy, plot_layers
from tokprune.bench.table import console_table, keep_text, markdown, p_text, write_csv


def test_console_table_shows_every_row():
    console = Console(file=io.StringIO(), width=160)
    console.print(console_table(some_rows()))
    text = console.file.getvalue()
    for piece in (
        "unpruned",
        "blind",
        "l2-norm",
        "2 tokens",
        "4 of 8",
        "20.0 → 16.0",
        "62.5",
        "30.6 to 86.3",
        "8 questions",
    ):
        assert piece in text, piece


def test_markdown_has_one_line_per_row_and_whole_columns():
    text = markdown(some_rows())
    table = text.split("\n\n")[0].splitlines()
    assert len(table) == 2 + len(some_rows())
    assert {line.replace("\\|", "").count("|") for line in table} == {9}
    assert "| l2-norm | 0.5 | compact | 100.0 | 25.0 |" in text
    assert "| weights | w |" in text


def test_csv_can_be_read_back(tmp_path):
    write_csv(some_rows(), tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["label"] for line in lines] == [row.label for row in some_rows()]
    assert float(lines[2]["accuracy"]) == 0.625
    assert float(lines[2]["accuracy size"]) == 0.25
    assert lines[2]["policy selector"] == "top-k"
    assert lines[0]["dtype"] == "float32"


@pytest.mark.parametrize(("keep", "text"), [(None, "-"), (0.25, "0.25"), (1.0, "1"), (8, "8 tokens")])
def test_keep_text(keep, text):
    assert keep_text(keep) == text


@pytest.mark.parametrize(("p", "text"), [(None, "-"), (0.5, "0.5"), (0.01234, "0.012"), (1e-9, "< 0.0001")])
def test_p_text(p, text):
    assert p_text(p) == text


def test_plots_are_pictures(tmp_path):
    plot_accuracy(some_rows(), tmp_path / "a.png")
    plot_layers(some_rows(), {"l2-norm": 1, "catp|vote": 2}, tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / name) as picture:
            colours = picture.convert("RGB").getcolors(1 << 24)
        assert picture.width > 500
        assert len(colours) > 20, "lines, bars and letters"


def test_the_plot_draws_scorers_keeps_and_levels(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr("tokprune.bench.plot._save", lambda figure, path: figures.append(figure))
    plot_accuracy(some_rows(), tmp_path / "a.png")
    axes = figures[0].axes[0]
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"unpruned", "blind", "l2-norm", "catp|vote"}
    levels = [
        line.get_ydata()[0]
        for line in axes.get_lines()
        if len(set(line.get_ydata())) == 1 and line.get_label()[0] != "_"
    ]
    assert 87.5 in levels
    assert 25.0 in levels
    l2 = next(c for c in axes.containers if c.get_label() == "l2-norm")
    assert list(l2.lines[0].get_ydata()) == [37.5, 62.5]
