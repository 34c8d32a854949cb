import pytest

from tokprune.cli.arguments import parse_keep, parse_keeps
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
