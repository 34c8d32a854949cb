"""They are selectors as tokprune wants them: the kit's laws, errors, batches, memory, and nothing that waits."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch
from helpers_committees import RULES, expected, keep, selector
from torch.utils._python_dispatch import TorchDispatchMode

import tokprune
from tokprune import InvalidValueError, Policy, Votes
from tokprune.functional import top_k
from tokprune.testing import check_selector

VARIANTS = (
    *RULES,
    "phragmen:approve=0.25",
    "pav:approve=3",
    "equal-shares:completion=scores",
    "equal-shares:approve=1",
)


def test_they_come_in_through_the_entry_point():
    assert set(RULES) <= set(tokprune.list_selectors())


@pytest.mark.parametrize("spec", ["pav:approve=2"])  # the defaults: conformance
def test_they_keep_the_laws_of_selectors(spec):
    check_selector(selector(spec))


@pytest.mark.parametrize("rule", RULES)
def test_a_policy_with_one_can_be_written_down(rule):
    policy = Policy(selector=f"{rule}:approve=0.25", keep=4)
    assert Policy.from_dict(policy.to_dict()) == policy
    assert policy.selector.uniform
    assert policy.selector.wants == ("votes",)


@pytest.mark.parametrize("rule", RULES)
def test_images_of_a_batch_do_not_know_each_other(rule):
    values = torch.rand(5, 90, 16, generator=torch.Generator().manual_seed(0)) ** 3
    values[1] = 0.5  # nobody approves anybody
    values[2, :80] = 0.0
    weights = torch.rand(5, 90, generator=torch.Generator().manual_seed(1))
    weights[3] = 0.0
    scores = values.sum(dim=1)
    for seats in (1, 5, 12, 16):
        together = keep(rule, values, seats, weights=weights, scores=scores)
        rows = [
            keep(rule, values[i : i + 1], seats, weights=weights[i : i + 1], scores=scores[i : i + 1]) for i in range(5)
        ]
        assert torch.equal(together, torch.cat(rows))
        assert torch.equal(together[1::2], top_k(scores[1::2], seats))


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_written_to(rule):
    values, weights = torch.rand(2, 9, 5), torch.rand(2, 9)
    scores = values.sum(dim=1)
    before = [t.clone() for t in (values, weights, scores)]
    keep(rule, values, 3, weights=weights, scores=scores)
    assert all(torch.equal(now, then) for now, then in zip((values, weights, scores), before, strict=True))


@pytest.mark.parametrize("rule", RULES)
def test_a_negative_weight_is_none(rule):
    values = torch.rand(1, 9, 5, generator=torch.Generator().manual_seed(4))
    scores, weights = values.sum(dim=1), torch.tensor([[1.0, 2, 1, -5, 1, -1, 3, 1, -2]])
    for seats in (1, 2, 3, 4):
        kept = keep(rule, values, seats, weights=weights, scores=scores)
        there = (weights > 0)[0]
        assert torch.equal(kept, keep(rule, values[:, there], seats, weights=weights[:, there], scores=scores))


@pytest.mark.parametrize("rule", RULES)
def test_votes_with_gradients_are_votes(rule):
    values, weights = torch.rand(1, 9, 5, requires_grad=True), torch.rand(1, 9, requires_grad=True)
    kept = keep(rule, values, 3, weights=weights, scores=values.sum(dim=1))
    assert not kept.requires_grad
    assert torch.equal(kept, keep(rule, values.detach(), 3, weights=weights.detach()))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bad", [0, 1.5, True, 6])
def test_bad_keeps_are_refused(rule, bad):
    with pytest.raises(InvalidValueError, match="keep"):
        keep(rule, torch.rand(1, 3, 5), bad)


@pytest.mark.parametrize("rule", RULES)
def test_votes_about_other_tokens_are_refused(rule):
    with pytest.raises(InvalidValueError, match=rf"{rule}: .*\(1, 3, 4\).*not about the tokens.*\(1, 5\)"):
        selector(rule)(torch.rand(1, 5), 2, votes=[Votes(torch.rand(1, 3, 5)), Votes(torch.rand(1, 3, 4))])
    with pytest.raises(InvalidValueError, match=f"{rule}: there are no votes"):
        selector(rule)(torch.rand(1, 5), 2, votes=[])


def list_of(indices: object) -> list[torch.Tensor | None]:
    return list(indices) if isinstance(indices, list | tuple) else []


class Watch(TorchDispatchMode):
    """Notes what runs, and the largest tensor of more than a byte per element that came out."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.names.add(name)
        if name.startswith("index") and any(i is not None and i.dtype == torch.bool for i in list_of(args[1])):
            self.names.add("index by bool")
        made = isinstance(result, torch.Tensor) and name != "detach" and result.is_contiguous()
        if made and result.element_size() > 1:
            self.largest = max(self.largest, result.numel())
        return result


WAITS = {
    "index by bool",
    "_local_scalar_dense",
    "is_nonzero",
    "nonzero",
    "masked_select",
    "equal",
    "unique",
    "_unique2",
}


def test_the_watch_sees_what_waits():
    with Watch() as watch:
        mask = torch.tensor([True, False])
        mask[mask]
        float(mask.sum())
    assert {"index by bool", "_local_scalar_dense"} <= watch.names


@pytest.mark.parametrize("spec", VARIANTS)
def test_nothing_waits_for_the_device(spec):
    layer = Votes(torch.rand(2, 40, 8), torch.rand(2, 40))
    scores = layer.total()
    with Watch() as watch:
        selector(spec)(scores, 0.5, votes=[layer, layer])
    assert not WAITS & watch.names


@pytest.mark.parametrize(
    "spec", ["pav", *(pytest.param(s, marks=pytest.mark.slow) for s in ("phragmen", "equal-shares:approve=0.25"))]
)
def test_they_can_be_compiled_in_one_piece(spec):
    rule = selector(spec)

    def kept(values: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return rule(scores, 3, votes=[Votes(values)])

    values = torch.rand(2, 100, 8, generator=torch.Generator().manual_seed(2))
    torch.compiler.reset()
    compiled = torch.compile(kept, fullgraph=True, backend="eager")
    assert torch.equal(compiled(values, values.sum(dim=1)), kept(values, values.sum(dim=1)))


@pytest.mark.parametrize("rule", RULES)
def test_memory_is_bounded_however_many_voters_there_are(rule):
    layers = [Votes(torch.rand(2, 6000, 64, generator=torch.Generator().manual_seed(i))) for i in range(2)]
    scores = layers[0].total()
    with Watch() as watch:
        selector(rule)(scores, 3, votes=layers)
    assert watch.largest <= 2**18  # where one byte for each of two million approvals is kept


@pytest.mark.parametrize("rule", RULES)
def test_many_voters_are_counted_to_the_last(rule):
    # Six kinds of voters, 3000 to 8000 of each: several pieces. The textbook takes each kind as one, with a weight.
    kinds = torch.randint(0, 3, (1, 6, 9), generator=torch.Generator().manual_seed(5)).float()
    copies = torch.tensor([3000, 8000, 3500, 4001, 7999, 5000])
    crowd = kinds.repeat_interleave(copies, dim=1)  # kind by kind, so that no piece is like the whole
    scores = torch.arange(9.0)[None]
    for seats in (3, 6):
        kept = keep(rule, crowd, seats, scores=scores)
        assert torch.equal(kept, expected(rule, Votes(kinds, copies[None].float()), scores, seats))


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_many_voters_does_not_matter(rule):
    generator = torch.Generator().manual_seed(3)
    values = torch.rand(1, 12 * 257, 32, generator=generator) ** 4
    weights = torch.rand(1, 12 * 257, generator=generator)
    order = torch.randperm(12 * 257, generator=generator)
    scores = torch.zeros(1, 32)
    kept = keep(rule, values, 8, weights=weights, scores=scores)
    assert torch.equal(keep(rule, values[:, order], 8, weights=weights[:, order], scores=scores), kept)
    assert not torch.equal(keep(rule, values, 8, scores=scores), kept)  # weights matter


def test_the_examples_in_the_documentation_run():
    package = importlib.import_module("tokprune_committees")
    names = [package.__name__, *(f"{package.__name__}.{m.name}" for m in pkgutil.iter_modules(package.__path__))]
    results = [doctest.testmod(importlib.import_module(name), extraglobs={}) for name in names]
    assert not any(result.failed for result in results)
    assert sum(result.attempted for result in results) > 10
