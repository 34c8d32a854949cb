"""Handles: several handles treated as one, here with made-up ones that note what is done to them."""

from collections.abc import Sequence

import pytest

from tokprune.handles import Handles


class Broken(Exception):
    """Raised on purpose."""


class Noting:
    """Looks like a handle."""

    def __init__(self, target, notes):
        self.target, self.notes, self.active, self.report, self.order = target, notes, True, None, len(notes)

    def remove(self):
        self.notes.append(f"remove {self.target}")
        self.active = False

    def check(self, inputs):
        self.notes.append(f"check {self.target} {inputs}")
        return f"report of {self.target}"

    def __repr__(self):
        return f"Noting({self.target})"


@pytest.fixture
def notes():
    return []


@pytest.fixture
def handles(notes):
    return Handles([Noting("image", notes), Noting("query", notes)])


def test_they_are_a_sequence_in_the_order_given(handles):
    one, other = handles
    assert isinstance(handles, Sequence)
    assert len(handles) == 2
    assert (handles[0], handles[-1], handles[:1], handles[::-1]) == (one, other, [one], [other, one])
    assert [handle.target for handle in reversed(handles)] == ["query", "image"]
    assert one in handles
    assert handles.index(other) == 1
    with pytest.raises(IndexError):
        handles[2]


def test_later_changes_of_the_list_do_not_reach_them(notes):
    mine = [Noting("image", notes)]
    handles = Handles(mine)
    mine.clear()
    assert len(handles) == 1


def test_they_are_removed_in_reverse_order(handles, notes):
    handles.remove()
    assert notes == ["remove query", "remove image"]


def test_they_are_active_while_any_of_them_is(handles):
    assert handles.active
    handles[0].remove()
    assert handles.active
    handles[1].remove()
    assert not handles.active


def test_leaving_the_block_removes_them_whatever_happened(handles, notes):
    def block():
        with handles as same:
            assert same is handles
            raise Broken

    with pytest.raises(Broken):
        block()
    assert notes == ["remove query", "remove image"]


def test_each_is_checked_on_the_same_inputs(handles, notes):
    assert handles.check("inputs") == {"image": "report of image", "query": "report of query"}
    assert notes == ["check image inputs", "check query inputs"]


def test_reports_are_read_when_asked_for_by_target(handles):
    assert handles.reports == {"image": None, "query": None}
    handles[1].report = "new"
    assert handles.reports == {"image": None, "query": "new"}


def test_one_that_cannot_be_removed_does_not_keep_the_others_on(handles, notes):
    def stuck():
        raise Broken

    handles[1].remove = stuck
    with pytest.raises(Broken):
        handles.remove()
    assert notes == ["remove image"]


def test_they_print_as_their_handles(handles):
    assert repr(handles) == "Handles([Noting(image), Noting(query)])"
