"""What a report says, and the last score of each token where tokens leave in several steps."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tokprune.report import Report, latest_scores, scores_of_groups


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
    scores = scores_of_groups(kept, [(torch.tensor([1]), small), (torch.tensor([2, 0]), large)])
    assert scores[[2, 0]].equal(large)
    assert scores[1, :2].equal(small[0])
    assert scores[1, 2:].isnan().all()
