import pytest

from tokprune.bench.matching import matches, normalise


@pytest.mark.parametrize(
    ("said", "accepted"),
    [
        ("Red.", "red"),
        ("the red circle", "red circle"),
        ("two", "2"),
        ("none", "zero"),
        ("it isn't", "it isnt"),
        ("it isn\u2019t", "it isn't"),
        ("red-ish", "red ish"),
        ("1,000", "1000"),
        ("3.5 m", "3.5 m."),
        ("A", "a"),
        ("snake_case", "snake case"),
    ],
)
def test_these_count_as_the_same_answer(said, accepted):
    assert matches(said, [accepted])
    assert matches(accepted, [said])


@pytest.mark.parametrize(
    ("said", "accepted"),
    [("red", "blue"), ("", "red"), ("...", "the"), ("35", "3.5"), ("red circle", "red"), ("1,0", "10"), ("", "")],
)
def test_these_do_not(said, accepted):
    assert not matches(said, [accepted])


def test_any_accepted_answer_will_do():
    assert matches("crimson", ["red", "crimson"])


def test_normalising_twice_changes_nothing():
    for text in ("The Two red-circles.", "A", "3.5", "don't, the end", "none"):
        assert normalise(normalise(text)) == normalise(text)
