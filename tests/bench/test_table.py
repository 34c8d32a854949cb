import csv
import io

import pytest
from PIL import Image
from rich.console import Console
from rows import image_row, row, some_policies, some_rows

from tokprune.bench.plot import plot_accuracy, plot_depth, plot_layers, plot_policies
from tokprune.bench.table import after_text, console_table, keep_text, markdown, p_text, write_csv


@pytest.fixture
def figures(monkeypatch):
    found = []
    monkeypatch.setattr("tokprune.bench.plot._save", lambda figure, path: found.append(figure))
    return found


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


def columns(rows):
    return [cell.strip() for cell in markdown(rows).splitlines()[0].strip("|").split("|")]


USUAL = ["scorer", "keep", "positions", "tokens kept", "sequence", "accuracy %", "95% interval", "p vs unpruned"]


def test_target_after_and_reduction_are_told_where_one_of_them_is_not_the_usual():
    unpruned = some_rows()[0]
    assert columns(some_rows()) == USUAL
    assert columns([unpruned, image_row("first", "1" * 8, 0.5)]) == [*USUAL[:3], "target", *USUAL[3:]]
    rows = [unpruned, image_row("first", "1" * 8, 0.5), image_row("first", "1" * 8, 0.5, "merge", [1, 3])]
    assert columns(rows) == [*USUAL[:3], "target", "after", "reduction", *USUAL[3:]]
    lines = markdown(rows).splitlines()
    assert lines[2].startswith("| unpruned | - | - | - | - | - | 8 of 8 |")
    assert lines[3].startswith("| first | 0.5 | compact | image | - | prune | 32 of 64 | 20.0 |")
    assert lines[4].startswith("| first | 0.5 | compact | image | 1,3 | merge | 32 of 64 | 20.0 |")
    by_kind = markdown(rows).split("by kind of question:")[1]
    assert "| first | 0.5 | compact | image | 1,3 | merge | 100.0 | 100.0 |" in by_kind


def test_policies_that_act_together_are_called_by_what_was_asked_for():
    text = markdown(some_policies())
    assert columns(some_policies()) == ["policies", *USUAL[3:]]
    assert "| unpruned | image 64 of 64, query 8 of 8 |" in text
    assert "| stride target=image keep=0.5 + first keep=0.25 | image 32 of 64, query 2 of 8 |" in text
    mixed = [*some_policies(), row("l2-norm", "1" * 8, keep=0.5)]
    assert columns(mixed) == USUAL


def test_csv_has_a_column_for_each_target_and_each_policy(tmp_path):
    write_csv(some_policies(), tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["tokens_kept image"], line["tokens_kept query"]) for line in lines[1:]] == [
        ("32.0", "2.0"),
        ("16.0", "4.0"),
    ]
    assert (lines[1]["policy 1 scorer"], lines[1]["policy 2 keep"]) == ("stride", "0.25")
    assert lines[0]["policy 1 scorer"] == ""


@pytest.mark.parametrize(
    ("after", "text"), [(None, "-"), (1 / 3, "0.333"), (13, "13"), ([6, 13], "6,13"), ((6, 13), "6,13"), ("every",) * 2]
)
def test_after_text(after, text):
    assert after_text(after) == text


def test_plots_are_pictures(tmp_path):
    plot_accuracy(some_rows(), tmp_path / "a.png")
    plot_layers(some_rows(), {"l2-norm": 1, "catp|vote": 2}, tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / name) as picture:
            colours = picture.convert("RGB").getcolors(1 << 24)
        assert picture.width > 500
        assert len(colours) > 20, "lines, bars and letters"


def test_the_plot_draws_scorers_keeps_and_levels(figures):
    plot_accuracy(some_rows(), "a.png")
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


def curves(figure):
    return {
        c.get_label(): (c.lines[0].get_linestyle(), list(c.lines[0].get_ydata())) for c in figure.axes[0].containers
    }


def test_treatments_of_a_scorer_are_lines_of_one_colour_and_different_dashes(figures):
    reductions = [image_row("first", "1" * 8, 0.5), image_row("first", "1111" * 2, 0.5, "merge")]
    plot_accuracy([some_rows()[0], *reductions, image_row("stride", "11110000", 0.5)], "a.png")
    assert curves(figures[0]) == {
        "first (prune)": ("-", [100]),
        "first (merge)": ("--", [100]),
        "stride (prune)": ("-", [50]),
    }
    colours = [c.lines[0].get_color() for c in figures[0].axes[0].containers]
    assert colours[0] == colours[1] != colours[2]


def test_depth_is_drawn_by_the_number_of_layers_in_front_of_the_cut(figures):
    rows = [image_row("first", "1" * right + "0" * (8 - right), 0.5, after=after) for after, right in ((3, 6), (1, 4))]
    plot_depth([*some_rows()[:2], *rows, image_row("first", "0" * 8, 0.5, after="every")], "a.png")
    (curve,) = figures[0].axes[0].containers
    assert curve.get_label() == "first (keep 0.5)"
    assert list(curve.lines[0].get_ydata()) == [50, 75]
    assert list(figures[0].axes[0].get_xticks()) == [1, 3]


def test_policies_are_drawn_from_top_to_bottom(figures):
    rows = [*some_policies(), row("l2-norm", "11110001", keep=0.5)]
    plot_policies(rows, "a.png")
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "unpruned\nimage 64 of 64, query 8 of 8",
        "stride target=image keep=0.5 + first keep=0.25\nimage 32 of 64, query 2 of 8",
        "stride target=image keep=0.25 + first keep=0.5\nimage 16 of 64, query 4 of 8",
        "l2-norm keep=0.5\n8 of 8",
    ]
    assert axes.yaxis_inverted()
    assert list(axes.containers[0].lines[0].get_xdata()) == [87.5, 62.5, 37.5, 62.5]
