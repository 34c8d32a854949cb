"""Several policies on one target, at different places: what `apply` and the reports make of them."""

import pytest
import torch

import tokprune
from tokprune import AdapterError, AlreadyAppliedError, InvalidValueError, Policy
from tokprune.adapters.attached import Attached
from tokprune.testing import tiny

LLAVA, INPUTS = tiny("llava")
VIT, _ = tiny("vit")


@pytest.fixture
def able(monkeypatch):
    """Every mechanism says that it can be one of several stages."""
    monkeypatch.setattr(Attached, "stages", True)


def test_the_same_place_twice_is_an_error():
    for after in (None, 1):
        with pytest.raises(InvalidValueError, match=rf"2 of the policies .* at the same place \(after={after}\)"):
            tokprune.apply(VIT, [Policy("first", keep=4, after=after), Policy("stride", keep=2, after=after)])
    assert not tokprune.handles_of(VIT)


@pytest.mark.usefixtures("able")
def test_the_same_place_written_in_two_ways_is_an_error():
    with pytest.raises(InvalidValueError, match=r"after=1 and after=0.3 .* at the same place"):
        tokprune.apply(VIT, [Policy("first", keep=4, after=1), Policy("stride", keep=2, after=0.3)])
    with tokprune.apply(VIT, scorer="first", after=1), pytest.raises(AlreadyAppliedError):
        tokprune.apply(VIT, scorer="stride", after=0.3)
    assert not tokprune.handles_of(VIT)


def test_where_a_mechanism_cannot_be_a_stage_the_second_policy_is_refused(monkeypatch):
    monkeypatch.setattr(Attached, "stages", False)
    monkeypatch.setattr(tokprune.adapters.EncoderPruning, "stages", False, raising=False)
    with pytest.raises(AdapterError, match=r"pruned at one place of a .* after=1 and after=2; take one of them"):
        tokprune.apply(VIT, [Policy("first", keep=4, after=1), Policy("stride", keep=2, after=2)])
    with tokprune.apply(VIT, scorer="first", after=1), pytest.raises(AlreadyAppliedError):
        tokprune.apply(VIT, scorer="stride", after=2)
    assert not tokprune.handles_of(VIT)


def test_stages_are_attached_in_the_order_of_their_places_and_returned_in_that_of_the_list():
    policies = [Policy("first", keep=4, after=1), Policy("stride", keep=8)]
    with tokprune.apply(LLAVA, policies) as handles:
        assert [handle.policy.after for handle in handles] == [1, None]
        assert [handle.policy.after for handle in tokprune.handles_of(LLAVA)] == [None, 1]
    assert not tokprune.handles_of(LLAVA)


def test_what_is_left_after_all_stages_is_reported_of_the_original_tokens():
    policies = [Policy("stride", keep=8), Policy("first", keep=3, after=1)]
    with torch.no_grad(), tokprune.apply(LLAVA, policies) as handles:
        assert handles.report is None
        LLAVA(**INPUTS)
        front, later = (handle.report for handle in handles)
        report = handles.report
    assert set(front.counts.tolist()) == {8}
    assert later.kept.shape[1] == 8
    assert set(report.counts.tolist()) == {3}
    for row, kept in zip(front.kept, report.kept, strict=True):
        assert kept.nonzero()[:, 0].tolist() == row.nonzero()[:3, 0].tolist()
    assert (report.length_before, report.length_after) == (front.length_before, later.length_after)
    assert report.stages == (front, later)
