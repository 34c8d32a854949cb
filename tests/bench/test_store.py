import dataclasses
import json

import pytest
from rows import CERTIFICATE, row, some_policies, some_rows

from tokprune.bench.row import Row
from tokprune.bench.store import RowStore
from tokprune.errors import InvalidValueError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "rows.jsonl"


def fill(path):
    store = RowStore(path, Row, CERTIFICATE)
    for each in some_rows():
        store.append(each)
    return store


def test_rows_come_back_as_they_were_written(path):
    fill(path)
    assert RowStore(path, Row, CERTIFICATE).rows == some_rows()


def test_rows_of_several_policies_come_back_too(path):
    store = RowStore(path, Row, CERTIFICATE)
    for each in some_policies():
        store.append(each)
    assert RowStore(path, Row, CERTIFICATE).rows == some_policies()
    assert json.loads(path.read_text().splitlines()[1])["tokens_kept"] == {"image": 32, "query": 2}


def test_a_row_is_in_the_file_at_once(path):
    store = RowStore(path, Row, CERTIFICATE)
    for number, each in enumerate(some_rows(), start=1):
        store.append(each)
        assert len(path.read_text().splitlines()) == number


def test_lines_carry_the_derived_numbers_for_other_readers(path):
    fill(path)
    line = json.loads(path.read_text().splitlines()[2])
    assert (line["correct"], line["total"], line["accuracy"]) == (5, 8, 5 / 8)
    assert line["low"] < line["accuracy"] < line["high"]


def test_a_line_torn_at_any_byte_is_dropped_and_written_again(path):
    fill(path)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in (last + 1, last + 40, len(whole) - 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        store = RowStore(path, Row, CERTIFICATE)
        assert store.rows == some_rows()[:-1]
        store.append(some_rows()[-1])
        assert path.read_bytes() == whole


def test_a_torn_line_longer_than_the_row_that_replaces_it_leaves_nothing_behind(path):
    fill(path)
    whole = path.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    path.write_bytes(whole[:last] + b"{" + b"x" * len(whole))
    RowStore(path, Row, CERTIFICATE).append(some_rows()[-1])
    assert path.read_bytes() == whole


def test_garbage_before_the_last_line_is_an_error_with_its_line(path):
    fill(path)
    lines = path.read_text().splitlines()
    for garbage in ("{torn", "[1]", '{"label": "x"}', "null"):
        path.write_text("\n".join([lines[0], garbage, *lines[1:]]) + "\n")
        with pytest.raises(InvalidValueError, match=r"rows.jsonl:2: not a benchmark row"):
            RowStore(path, Row, CERTIFICATE)


def test_rows_of_another_run_are_refused_by_name_and_left_alone(path):
    fill(path)
    before = path.read_bytes()
    with pytest.raises(InvalidValueError, match=r"n: 8 there, 9 now") as caught:
        RowStore(path, Row, dataclasses.replace(CERTIFICATE, n=9, model="other"))
    assert "model: 'tiny' there, 'other' now" in str(caught.value)
    assert "--out" in str(caught.value)
    assert path.read_bytes() == before


def test_another_date_and_batch_size_go_on(path):
    fill(path)
    store = RowStore(path, Row, dataclasses.replace(CERTIFICATE, date="tomorrow", batch_size=1))
    store.append(row("stride", "11111111", keep=0.5))
    assert len(RowStore(path, Row, CERTIFICATE).rows) == 6


def test_several_runs_can_share_a_file(path):
    fill(path)
    before = path.read_bytes()
    other = dataclasses.replace(CERTIFICATE, model="other")
    store = RowStore(path, Row, other, shared=True)
    assert store.rows == []
    mine = row("first", "11111111", keep=0.5, certificate=other.to_dict())
    store.append(mine)
    assert path.read_bytes().startswith(before)
    assert RowStore(path, Row, other, shared=True).rows == [mine]
    assert RowStore(path, Row, CERTIFICATE, shared=True).rows == some_rows()
    with pytest.raises(InvalidValueError, match="rows of another run"):
        RowStore(path, Row, other)
