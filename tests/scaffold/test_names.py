"""One name in all its forms."""

from __future__ import annotations

import keyword

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokprune import InvalidValueError
from tokprune.registry import KINDS
from tokprune.scaffold import Names
from tokprune.scaffold.names import LONGEST

WORDS = st.text("abnz019", min_size=1, max_size=6)
NAMES = st.lists(WORDS, min_size=1, max_size=4).map("-".join)


def test_a_name_in_all_its_forms() -> None:
    assert Names.of("scorer", "far-away-2") == Names(
        "scorer", "far-away-2", "tokprune-far-away-2", "tokprune_far_away_2", "far_away_2", "FarAway2"
    )


@given(st.sampled_from(KINDS), NAMES)
@example("scorer", "class")
@example("selector", "none")
@example("aggregator", "3d")
@example("reduction", "0")
@example("adapter", "import-class")
def test_whatever_the_name_modules_and_classes_are_identifiers(kind: str, name: str) -> None:
    names = Names.of(kind, name)
    for identifier in (names.package, names.module, names.cls):
        assert identifier.isidentifier()
        assert not keyword.iskeyword(identifier)


@given(NAMES)
def test_the_distribution_may_be_named_instead(name: str) -> None:
    assert Names.of("scorer", f"tokprune-{name}") == Names.of("scorer", name.removeprefix("tokprune-"))


@pytest.mark.parametrize(
    ("name", "module", "cls"),
    [
        ("class", "scorer_class", "Class"),
        ("none", "none", "ScorerNone"),  # None is a keyword, none is not
        ("3d", "scorer_3d", "Scorer3d"),
        ("json", "json", "Json"),
        ("exception", "exception", "ScorerException"),
        ("votes", "votes", "ScorerVotes"),
        ("torch", "scorer_torch", "Torch"),
    ],
)
def test_names_that_mean_something_to_python_or_to_the_module(name: str, module: str, cls: str) -> None:
    names = Names.of("scorer", name, {"Votes", "torch"})
    assert (names.name, names.module, names.cls) == (name, module, cls)


@pytest.mark.parametrize(
    "name",
    ["", "Far", "far_away", "far away", "-far", "far-", "far--away", "../far", "far.py", "tokprune-", "fär", "f\n"],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidValueError, match="lower-case words with hyphens between them, such as my-selector"):
        Names.of("selector", name)


def test_a_name_has_a_longest() -> None:
    assert Names.of("scorer", "a" * LONGEST).name == "a" * LONGEST
    assert Names.of("scorer", f"tokprune-{'a' * LONGEST}").name == "a" * LONGEST
    with pytest.raises(InvalidValueError, match=f"{LONGEST + 1} letters; a name has at most {LONGEST}"):
        Names.of("scorer", "a" * (LONGEST + 1))
