"""Which backend runs, and who learns of it."""

import sys

import pytest
import torch

from tokprune import BackendError, InvalidValueError, Votes
from tokprune.kernels import attention_points, attention_total, choice, record_backends

from .layers import layer

both = pytest.mark.parametrize("count", [attention_points, attention_total])


@both
def test_an_unknown_backend_is_refused_by_name(count):
    with pytest.raises(InvalidValueError, match="backend must be one of 'auto', 'reference', 'triton', got 'cuda'"):
        count(*layer(), 0.5, candidates="query", backend="cuda")


@both
def test_triton_on_a_cpu_says_what_is_missing(count):
    pytest.importorskip("triton")
    with pytest.raises(BackendError, match=f"{count.__name__}: .* the tensors are on cpu, not on a CUDA device"):
        count(*layer(), 0.5, candidates="query", backend="triton")


@both
def test_without_triton_auto_counts_with_torch_and_triton_is_refused(count, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokprune.kernels.fused", None)
    choice._fused.cache_clear()
    try:
        with pytest.raises(BackendError, match=r"triton is not installed\. 'auto' and 'reference' can"):
            count(*layer(), 0.5, candidates="query", backend="triton")
        assert count(*layer(), 0.5, candidates="query").shape == (2, 5)
    finally:
        choice._fused.cache_clear()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_trace_records_what_torch_counts_and_never_a_kernel(monkeypatch):
    monkeypatch.setattr(choice, "_fused", lambda: pytest.fail("a kernel was looked for"))
    monkeypatch.setattr(choice, "_worth_trying", lambda given: True)

    def counted(query, key, backend):
        return attention_points(query, key, 0.5, candidates="query", backend=backend)

    query, key = layer()
    traced = torch.jit.trace(lambda q, k: counted(q, k, "auto"), (query, key), check_trace=False)
    assert torch.equal(traced(key, query), counted(key, query, "reference"))
    with pytest.raises(BackendError, match=r"torch\.jit\.trace does not record what a Triton kernel does"):
        torch.jit.trace(lambda q, k: counted(q, k, "triton"), (query, key))


class Broken:
    """Triton as it is where no compiler is installed."""

    @staticmethod
    def points(given):
        raise RuntimeError("no C compiler")

    total = points


def test_where_triton_fails_auto_counts_with_torch_from_then_on(monkeypatch):
    asked = []
    monkeypatch.setattr(choice, "_failed", False)
    monkeypatch.setattr(choice, "_fused", lambda: Broken)
    monkeypatch.setattr(choice, "_obstacle", lambda what, given: asked.append(what))
    monkeypatch.setattr(choice, "_worth_trying", lambda given: not choice._failed)
    with record_backends() as ran, pytest.warns(RuntimeWarning, match="torch counts .* from now on: no C compiler"):
        first = attention_points(*layer(), 0.5, candidates="query")
    again = attention_points(*layer(), 0.5, candidates="query")
    assert torch.equal(first, attention_points(*layer(), 0.5, candidates="query", backend="reference"))
    assert torch.equal(again, first)
    assert (ran, asked) == ({"reference"}, ["points"])
    with pytest.raises(RuntimeError, match="no C compiler"):
        attention_points(*layer(), 0.5, candidates="query", backend="triton")


def test_out_of_memory_is_not_taken_for_a_broken_triton(monkeypatch):
    def full(given):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Broken, "points", full)
    monkeypatch.setattr(choice, "_fused", lambda: Broken)
    monkeypatch.setattr(choice, "_obstacle", lambda what, given: None)
    monkeypatch.setattr(choice, "_worth_trying", lambda given: True)
    with pytest.raises(torch.OutOfMemoryError):
        attention_points(*layer(), 0.5, candidates="query")


def test_what_ran_is_recorded_inside_the_block_only():
    with record_backends() as nothing:
        pass
    with record_backends() as outer:
        with record_backends() as inner:
            attention_points(*layer(), 0.5, candidates="query")
        assert inner == {"reference"}
    attention_points(*layer(), 0.5, candidates="query")
    assert (nothing, outer) == (set(), {"reference"})


def test_an_error_inside_the_block_ends_the_record():
    with pytest.raises(ZeroDivisionError), record_backends() as ran:
        _ = 1 / 0
    attention_points(*layer(), 0.5, candidates="query")
    assert ran == set()


def test_votes_given_as_numbers_are_recorded_too():
    with record_backends() as ran:
        Votes(torch.rand(1, 2, 3)).total()
    assert ran == {"reference"}


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": torch.rand(2, 3, 4)}, r"query must have shape \[batch head query dim\], got \(2, 3, 4\)"),
        ({"key": torch.rand(2, 3, 4)}, r"key must have shape \[batch head key dim\], got \(2, 3, 4\)"),
        ({"key": torch.rand(2, 3, 7, 9)}, "same dim, and the same batch or a batch of 1"),
        ({"key": torch.rand(3, 3, 7, 8)}, "same batch or a batch of 1"),
        ({"key": torch.rand(2, 2, 7, 8)}, "3 query heads cannot share 2 key heads evenly"),
        ({"key": torch.rand(2, 3, 0, 8)}, "no keys"),
        ({"query": torch.rand(2, 3, 0, 8)}, "no queries"),
        ({"candidates": "image"}, "candidates must be 'query' or 'key', got 'image'"),
        ({"protected": 5}, "protected must leave at least one of the 5 tokens, got 5"),
        ({"protected": -1}, "at least one of the 5 tokens, got -1"),
        ({"weights": torch.rand(2, 7)}, r"weights \[batch voter\] must have shape \(2, 21\), got \(2, 7\)"),
        ({"mask": torch.ones(2, 5)}, r"broadcastable to \[batch head query key\] = \(2, 3, 5, 7\), got \(2, 5\)"),
        ({"mask": torch.ones(1, 2, 3, 5, 7)}, "mask must be broadcastable"),
    ],
)
def test_what_does_not_fit_together_is_refused(count, options, message):
    query, key = layer()
    with pytest.raises(InvalidValueError, match=f"{count.__name__}: .*{message}"):
        count(**{"query": query, "key": key, "scale": 0.5, "candidates": "query", **options})
