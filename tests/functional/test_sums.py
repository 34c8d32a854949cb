"""Sums over voters: exact where floats are, whatever the order."""

import math

import pytest
import torch

from tokprune.functional import exact_sum


@pytest.mark.parametrize("weighted", [False, True])
def test_the_sum_is_that_of_pythons_fsum(weighted):
    values, weights = torch.randn(2, 50, 3), torch.rand(2, 50)
    factors = weights if weighted else torch.ones(2, 50)
    expected = [
        [math.fsum(factors[b, v].item() * values[b, v, t].item() for v in range(50)) for t in range(3)] for b in (0, 1)
    ]
    torch.testing.assert_close(exact_sum(values, weights if weighted else None), torch.tensor(expected))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_ninety_five_thousand_points_are_counted_one_by_one(dtype):
    points = torch.ones(1, 95_604, 1, dtype=dtype)
    assert exact_sum(points).item() == 95_604
    assert exact_sum(points, torch.ones(1, 95_604)).item() == 95_604


def test_half_precision_could_not_have_counted_them():
    assert not torch.tensor(95_604.0).half().isfinite()
    assert torch.tensor(95_604.0).bfloat16().item() != 95_604


def test_a_small_vote_survives_between_large_ones():
    assert exact_sum(torch.tensor([[[1e8], [1.0], [-1e8]]])).item() == 1.0


def test_the_order_of_the_voters_does_not_matter():
    values = torch.randn(1, 3084, 4)
    assert torch.equal(exact_sum(values), exact_sum(values[:, torch.randperm(3084)]))
