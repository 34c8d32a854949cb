import pytest

from tokprune.cli.arguments import parse_after, parse_keep, parse_keeps, refuse_together
from tokprune.errors import InvalidValueError


@pytest.mark.parametrize(
    ("text", "keep"), [("0.25", 0.25), ("1/4", 0.25), ("8", 8), ("1.0", 1.0), ("1", 1), ("1/1", 1.0), ("5e-1", 0.5)]
)
def test_ratios_are_floats_and_counts_are_ints(text, keep):
    assert parse_keep(text) == keep
    assert type(parse_keep(text)) is type(keep)


@pytest.mark.parametrize("text", ["half", "1/0", "", "1/x"])
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidValueError, match="expected a ratio"):
        parse_keep(text)


def test_repeats_are_asked_once():
    assert parse_keeps(["1/2", "8", "0.5"]) == [0.5, 8]


def test_the_default_keeps_are_those_of_the_paper():
    assert parse_keeps(None) == [1 / 2, 1 / 4, 1 / 8]


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("1/3", 1 / 3),
        ("0.33", 0.33),
        ("1.0", 1.0),
        ("13", 13),
        ("1", 1),
        ("6,13,20", (6, 13, 20)),
        (" every ", "every"),
    ],
)
def test_places_of_a_cut(text, after):
    assert parse_after(text) == after
    assert type(parse_after(text)) is type(after)


@pytest.mark.parametrize("text", ["half", "", "0", "4/3", "13,6", "6,x", "1/0", "6,", "-1", "nan"])
def test_any_other_place_is_refused(text):
    with pytest.raises(InvalidValueError, match=r"^--after .*several in rising order"):
        parse_after(text)


def test_options_that_say_the_same_are_refused_by_name():
    given = {"--all": True, "--one": None, "--other": ["x"]}
    refuse_together("do", given, "--all", ["--one"], "says it")
    refuse_together("do", {**given, "--all": False}, "--all", ["--other"], "says it")
    with pytest.raises(InvalidValueError, match=r"^do: --all says it; omit --other$"):
        refuse_together("do", given, "--all", ["--one", "--other"], "says it")
