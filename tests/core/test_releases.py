"""Which releases of transformers the Makefile tests."""

from packaging.specifiers import SpecifierSet
from packaging.version import Version
from releases import newer, older

PROMISED = SpecifierSet(">=5.17,<6")
NUMBERS = "6.0.0rc0 5.25.0rc1 5.24.1 5.24.0 5.23.1 5.23.0 5.17.0 5.2.0"
LISTED = [Version(each) for each in NUMBERS.split()]


def test_the_lowest_that_is_promised_and_the_line_before_the_newest():
    assert [*map(str, older(Version("5.24.1"), PROMISED, LISTED))] == ["5.17.0", "5.23.1"]
    assert [*map(str, older(Version("5.23.0"), PROMISED, LISTED))] == ["5.17.0"]
    assert older(Version("5.17.0"), PROMISED, LISTED) == []


def test_a_pre_release_is_newer_and_one_that_is_not_promised_is_none():
    assert [*map(str, newer(Version("5.24.1"), PROMISED, LISTED))] == ["5.25.0rc1"]
    assert [*map(str, newer(Version("5.24.0"), PROMISED, LISTED[2:]))] == ["5.24.1"]
    assert newer(Version("5.25.0"), PROMISED, LISTED) == []
