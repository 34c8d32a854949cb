"""Components as text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokprune import InvalidValueError
from tokprune.specs import NAME, format_spec, parse_spec

NAMES = st.from_regex(NAME, fullmatch=True)
KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
NUMBERS = st.integers() | st.floats(allow_nan=False)
VALUES = st.one_of(
    NUMBERS, st.booleans(), st.none(), st.text(max_size=12), st.lists(st.integers() | st.text(max_size=4), max_size=4)
)


@given(name=NAMES, options=st.dictionaries(KEYS, VALUES, max_size=4))
def test_options_written_down_are_read_back(name, options):
    assert parse_spec(format_spec(name, options)) == (name, options)


@given(name=NAMES, value=st.text("ab,=:[](){}'\"\\ \n", max_size=10))
def test_text_full_of_signs_is_read_back(name, value):
    assert parse_spec(format_spec(name, {"a": value, "b": 1})) == (name, {"a": value, "b": 1})


@pytest.mark.parametrize(
    ("spec", "name", "options"),
    [
        ("catp-vote", "catp-vote", {}),
        (" catp-vote ", "catp-vote", {}),
        ("catp-vote:layers=first", "catp-vote", {"layers": "first"}),
        ("catp-vote:layers=[0,2],order=sum-then-rank", "catp-vote", {"layers": [0, 2], "order": "sum-then-rank"}),
        ("catp-vote:layers=(0, 2)", "catp-vote", {"layers": (0, 2)}),
        ("center-bias: sigma = 0.3", "center-bias", {"sigma": 0.3}),
        ("a:nested=[(0,1),(2,3)],b=-1", "a", {"nested": [(0, 1), (2, 3)], "b": -1}),
        ("a:table={'x': 1, 'y': 2},b=2", "a", {"table": {"x": 1, "y": 2}, "b": 2}),
        ("a:text='x,y=z',flag=True,none=None", "a", {"text": "x,y=z", "flag": True, "none": None}),
        ("a:url=http://b", "a", {"url": "http://b"}),
        ("a:big=1e999", "a", {"big": math.inf}),
    ],
)
def test_a_spec_is_read_as_it_looks(spec, name, options):
    assert parse_spec(spec) == (name, options)


@pytest.mark.parametrize("spec", ["", ":", "catp-vote:", "Catp", "catp_vote", "-catp", "catp-", "a b", "a:  ", "a--b"])
def test_what_is_not_a_name_says_how_a_component_is_written(spec):
    with pytest.raises(InvalidValueError, match="write 'name' or 'name:option=value,option=value'"):
        parse_spec(spec)


@pytest.mark.parametrize("spec", [None, 3, b"catp-vote", ["catp-vote"]])
def test_what_is_not_text_is_no_spec(spec):
    with pytest.raises(InvalidValueError, match=r"a component is written as text, .* got "):
        parse_spec(spec)


@pytest.mark.parametrize("value", ["{[]}", "[" * 3000 + "]" * 3000, "-" * 100_000 + "1", "(" * 100_000])
def test_a_value_that_is_no_literal_is_text(value):
    assert parse_spec(f"a:b={value}") == ("a", {"b": value})


@pytest.mark.parametrize("spec", ["a:first", "a:b=1,", "a:=1", "a:b=1,b=2", "a:1b=2", "a:b=1,,c=2", "a:b c=1"])
def test_what_is_not_an_option_is_pointed_at(spec):
    with pytest.raises(InvalidValueError, match="is not option=value"):
        parse_spec(spec)
