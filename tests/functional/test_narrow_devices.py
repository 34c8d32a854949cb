"""MPS has no float64, so nothing may be made in it there; this acts as if every device were like that."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tokprune.functional import (
    attention,
    borda_scores,
    copeland_scores,
    exact_sum,
    majority,
    pairwise_margins,
    plurality_scores,
    ranking,
    received_attention,
    selection,
    sums,
    top_p,
)
from tokprune.kernels import attention_points, attention_total, reference


class Dtypes(TorchDispatchMode):
    """The dtypes of all tensors that are made inside the block."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.seen |= {leaf.dtype for leaf in torch.utils._pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)}
        return result


VOTES, WEIGHTS = torch.rand(2, 30, 5), torch.rand(2, 30)
QUERY, KEY = torch.rand(2, 3, 5, 4), torch.rand(2, 3, 10, 4)
CALLS = {
    "sum": lambda: exact_sum(VOTES, WEIGHTS),
    "borda": lambda: borda_scores(VOTES),
    "weighted borda": lambda: borda_scores(VOTES, WEIGHTS),
    "plurality": lambda: plurality_scores(VOTES, WEIGHTS),
    "copeland": lambda: copeland_scores(pairwise_margins(VOTES)),
    "weighted copeland": lambda: copeland_scores(pairwise_margins(VOTES, WEIGHTS)),
    "received": lambda: received_attention(VOTES[None]),
    "top-p": lambda: top_p(VOTES[0], 0.5),
    "points": lambda: attention_points(QUERY, KEY, 0.5, candidates="query", weights=WEIGHTS),
    "total": lambda: attention_total(QUERY, KEY, 0.5, candidates="query", weights=WEIGHTS),
}


def test_the_widest_dtype_is_float64_except_on_mps():
    assert sums.wide_dtype(VOTES) == torch.float64
    assert sums.wide_dtype(SimpleNamespace(device=torch.device("mps"))) == torch.float32


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_made_in_float64_there(name, monkeypatch):
    with Dtypes() as usual:
        expected = CALLS[name]()
    for module in (attention, majority, ranking, selection, sums, reference):
        monkeypatch.setattr(module, "wide_dtype", lambda tensor: torch.float32)
    with Dtypes() as narrow:
        counted = CALLS[name]()
    assert torch.float64 in usual.seen
    assert torch.float64 not in narrow.seen
    torch.testing.assert_close(counted, expected)


def test_a_draw_of_weighted_duels_stays_a_draw_there(monkeypatch):
    monkeypatch.setattr(majority, "wide_dtype", lambda tensor: torch.float32)
    votes, weights = torch.rand(1, 40, 2), torch.rand(1, 40)
    both_ways = torch.cat([votes, votes.flip(2)], dim=1), torch.cat([weights, weights], dim=1)
    order = torch.randperm(80)
    margins = pairwise_margins(both_ways[0][:, order], both_ways[1][:, order])
    assert copeland_scores(margins).tolist() == [[0.5, 0.5]]
