"""Texts of the user's: what cannot be read is one message that says where."""

import os
import sys

import pytest

from tokprune.bench.reading import check_text, read_json, read_text, shown
from tokprune.errors import InvalidValueError


def test_a_text_is_read_with_and_without_a_byte_order_mark(tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "text").write_text("grün", encoding=encoding)
        assert read_text(tmp_path / "text", "here") == "grün"


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(InvalidValueError, match=r"^here: cannot read .*: it is not a file$"):
            read_text(place, "here")


@pytest.mark.parametrize("name", ["none", "x" * 300, "a\0b", "/".join("x" * 200 for _ in range(30))])
def test_a_path_that_leads_nowhere_is_one_message(tmp_path, name):
    with pytest.raises(InvalidValueError, match=r"^here: cannot read "):
        read_text(tmp_path / name, "here")


def test_bytes_that_are_no_text_are_named_by_their_line(tmp_path):
    (tmp_path / "text").write_bytes(b"one\ntwo\n\xff\n")
    with pytest.raises(InvalidValueError, match=r"text:3: not UTF-8"):
        read_text(tmp_path / "text", "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"not JSON \(.*column 2\)"),
        ("[" * 100_000, "JSON that is nested too deeply"),
        ("1" * 5000, "JSON that cannot be read"),
        (b'"\xff"', "JSON that cannot be read"),
    ],
    ids=["torn", "deep", "a huge number", "bytes"],
)
def test_json_that_cannot_be_read_is_one_message(text, message):
    assert sys.get_int_max_str_digits() < 5000
    with pytest.raises(InvalidValueError, match=rf"^q\.jsonl:7: {message}"):
        read_json(text, "q.jsonl:7")


def test_half_a_character_is_no_text():
    check_text("a whole one: \U0001f600", "here")
    with pytest.raises(InvalidValueError, match=r"^here: .*lone surrogate \\ud83d\) at position 2") as caught:
        check_text("ab\ud83d", "here")
    str(caught.value).encode()


def test_a_value_is_not_shown_longer_than_a_line():
    assert shown([1, 2]) == "[1, 2]"
    assert len(shown("x" * 10_000)) == 80
