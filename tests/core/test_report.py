"""What a report says, and the last score of each token where tokens leave in several steps."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokprune import InvalidValueError
from tokprune.interfaces import Choice, Observed
from tokprune.report import Report, in_one, in_stages, latest_assignment, latest_scores, report_of


def by_loop(steps):
    """The same, token by token: the tokens that are left are remembered by their original numbers."""
    found = []
    for image in range(len(steps[0][0])):
        left, latest = list(range(steps[0][0].shape[1])), {}
        for kept, scores in steps:
            latest.update(zip(left, scores[image].tolist(), strict=True))
            left = [token for token, stays in zip(left, kept[image].tolist(), strict=True) if stays]
        found.append([latest[token] for token in sorted(latest)])
    return torch.tensor(found)


@st.composite
def elections(draw):
    """Kept and scores of one to four steps, as many tokens of every image at each."""
    images, counts = draw(st.integers(1, 3)), draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    counts.sort(reverse=True)
    generator, steps = torch.Generator().manual_seed(draw(st.integers(0, 99))), []
    for before, after in pairwise(counts):
        order = torch.stack([torch.randperm(before, generator=generator) for _ in range(images)])
        steps.append((order < after, torch.randn(images, before, generator=generator)))
    return steps


@given(steps=elections())
def test_latest_scores_are_those_of_a_loop(steps):
    before = [(kept.clone(), scores.clone()) for kept, scores in steps]
    assert torch.equal(latest_scores(steps), by_loop(steps))
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(steps, before, strict=True))


def test_one_step_gives_its_scores_as_they_are():
    scores = torch.tensor([[0.5, 0.1]])
    assert latest_scores([(torch.tensor([[True, False]]), scores)]) is scores


def test_scores_of_three_steps_by_hand():
    steps = [
        (torch.tensor([[True, False, True, True]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]])),
        (torch.tensor([[False, True, True]]), torch.tensor([[10.0, 30.0, 40.0]])),
        (torch.tensor([[False, True]]), torch.tensor([[300.0, 400.0]])),
    ]
    assert latest_scores(steps).tolist() == [[10.0, 2.0, 300.0, 400.0]]


@pytest.mark.parametrize("wider", [torch.float64, torch.float16])
def test_scores_of_later_steps_take_the_type_of_the_first(wider):
    steps = [
        (torch.tensor([[True, False]]), torch.tensor([[1.0, 2.0]])),
        (torch.tensor([[True]]), torch.tensor([[3.0]], dtype=wider)),
    ]
    assert latest_scores(steps).dtype == torch.float32
    assert latest_scores(steps).tolist() == [[3.0, 2.0]]


def test_a_report_counts_and_prints_what_stayed():
    kept = torch.tensor([[True, False, True], [True, False, False]])
    report = Report(kept, torch.zeros(2, 3), 17, 5)
    assert report.counts.tolist() == [2, 1]
    assert repr(report) == "Report(2 images, kept 1 to 2 of 3 tokens each, sequence 17 -> 5, backend 'reference')"
    assert repr(Report(kept[:1], torch.zeros(1, 3), 17, 5)).startswith("Report(1 image, kept 2 of 3 tokens each, ")


def test_images_with_different_numbers_of_tokens_have_no_score_where_they_have_no_token():
    kept = torch.zeros(3, 4, dtype=torch.bool)
    small, large = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0, 5.0, 6.0], [7.0, 8.0, 9.0, 10.0]])
    scores = in_one(kept, [(torch.tensor([1]), small), (torch.tensor([2, 0]), large)])
    assert scores[[2, 0]].equal(large)
    assert scores[1, :2].equal(small[0])
    assert scores[1, 2:].isnan().all()


def followed(steps):
    """The same as `latest_assignment`, token by token: where each goes, step by step."""
    found = []
    for image in range(len(steps[0][0])):
        places = list(range(steps[0][0].shape[1]))
        for kept, assignment in steps:
            stays = [token for token, keeps in enumerate(kept[image].tolist()) if keeps]
            groups = [stays.index(token) if token in stays else -1 for token in range(kept.shape[1])]
            groups = groups if assignment is None else assignment[image].tolist()
            places = [-1 if place < 0 else groups[place] for place in places]
        found.append(places)
    return found


@given(steps=elections(), seed=st.integers(0, 99), masks=st.lists(st.booleans(), min_size=4, max_size=4))
def test_groups_of_several_steps_are_followed_as_by_a_loop(steps, seed, masks):
    generator, grouped = torch.Generator().manual_seed(seed), []
    for (kept, _), mask in zip(steps, masks, strict=False):
        count = int(kept[0].sum())
        assignment = torch.randint(-1, count, kept.shape, generator=generator)
        assignment[kept] = torch.arange(count).repeat(len(kept))
        grouped.append((kept, None if mask else assignment))
    assert latest_assignment(grouped).tolist() == followed(grouped)


KEPT = torch.tensor([[True, False, True]])
GROUPED = Choice(KEPT, torch.tensor([[0, 1, 1]]), torch.tensor([[3.0, 1.0, 2.0]]))


def test_groups_of_images_with_different_numbers_of_tokens_are_reported_in_one():
    small = Choice(torch.tensor([[False, True]]), torch.tensor([[0, 0]]), torch.ones(1, 2), "triton")
    groups = ((torch.tensor([1]), small), (torch.tensor([0]), GROUPED))
    kept = torch.tensor([[True, False, True], [False, True, False]])
    report = report_of(Observed(kept, 9, 7, groups=groups))
    assert report.assignment.tolist() == [[0, 1, 1], [0, 0, -1]]
    assert report.backend == "reference, triton"


def test_groups_are_reported_of_the_first_copy_of_each_prompt():
    kept = KEPT.repeat(4, 1)
    assignment = torch.tensor([[0, 1, 1], [0, 0, 1], [0, -1, 1], [0, 1, 1]])
    choice = Choice(kept, assignment, torch.rand(4, 3))
    report = report_of(Observed(kept, 9, 7, choices=(choice,), copies=2))
    assert report.assignment.tolist() == [[0, 1, 1], [0, -1, 1]]


def test_without_groups_no_assignment_is_reported():
    report = report_of(Observed(KEPT, 9, 8, choices=(Choice(KEPT, None, torch.rand(1, 3)),)))
    assert report.assignment is None


def test_an_adapter_that_does_not_say_what_was_chosen_is_an_error():
    with pytest.raises(InvalidValueError, match=r"without what was chosen: `Observed` needs choices=\(choice,\)"):
        report_of(Observed(KEPT, 9, 8))


def stage(kept, scores, before, after, **more):
    return Report(torch.tensor(kept), torch.tensor(scores), before, after, **more)


def test_stages_are_reported_of_the_tokens_that_the_first_one_met():
    nan = torch.nan
    first = stage([[True, False, True, True], [False, True, False, False]], [[4.0, 1, 2, 3], [1, 9, 2, 3]], 20, 18)
    second = stage([[False, True, True], [True, False, False]], [[5.0, 6, 7], [8, nan, nan]], 18, 17, backend="triton")
    third = stage([[True, False], [True, False]], [[0.5, 0.25], [0.75, nan]], 17, 16)
    report = in_stages([first, second, third])
    assert report.kept.tolist() == [[False, False, True, False], [False, True, False, False]]
    assert report.scores.tolist() == [[5.0, 1, 0.5, 0.25], [1, 0.75, 2, 3]]
    assert (report.length_before, report.length_after, report.backend) == (20, 16, "reference, triton")
    assert report.stages == (first, second, third)
    assert (report.sizes, report.assignment) == (None, None)


def test_sizes_and_groups_go_from_stage_to_stage():
    kept, groups = [[True, False, True, True]], torch.tensor([[0, 1, 1, 2]])
    first = stage(kept, [[1.0] * 4], 9, 8, sizes=torch.tensor([[1.0, 0, 2, 1]]), assignment=groups)
    pruned = in_stages([first, stage([[False, True, True]], [[1.0] * 3], 8, 7)])
    assert pruned.sizes.tolist() == [[0, 0, 2, 1]]
    assert pruned.assignment.tolist() == [[-1, 0, 0, 1]]
    again = {"sizes": torch.tensor([[0.0, 3, 1]]), "assignment": torch.tensor([[0, 0, 1]])}
    merged = in_stages([first, stage([[False, True, True]], [[1.0] * 3], 8, 7, **again)])
    assert merged.sizes.tolist() == [[0, 0, 3, 1]]
    assert merged.assignment.tolist() == [[0, 0, 0, 1]]


def test_a_stage_that_is_about_other_tokens_is_an_error():
    first = stage([[True, False, True]], [[1.0] * 3], 9, 8)
    with pytest.raises(InvalidValueError, match=r"kept up to 2 tokens of 1 images, .* \(1, 3\)"):
        in_stages([first, first])
