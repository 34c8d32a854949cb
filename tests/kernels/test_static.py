"""Nothing waits for the device, nothing grows with the size of the whole map, and torch can compile it."""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tokprune.functional import chunks
from tokprune.kernels import attention_points, attention_total

from .layers import layer, voters

either_side = pytest.mark.parametrize("candidates", ["query", "key"])
both = pytest.mark.parametrize("count", [attention_points, attention_total])


class Largest(TorchDispatchMode):
    """The most elements that any tensor has which is made inside the block."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


@either_side
@both
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [(3, 4, 32, 300, 4), (1, 2, 100, 90, 4), (1, 2, 300, 300, 4)])
def test_no_tensor_is_larger_than_a_block(monkeypatch, candidates, count, weighted, sizes):
    limit = 9_000
    monkeypatch.setattr(chunks, "CPU_CELLS", limit)
    query, key = layer(*sizes)
    weights = torch.rand(voters(query, key, candidates)) if weighted else None
    with Largest() as largest:
        count(query, key, 0.5, candidates=candidates, weights=weights)
    # A copy of what came in may be larger: it is no larger than what came in.
    inputs = max(query.numel(), key.numel(), 0 if weights is None else weights.numel())
    assert largest.elements <= max(limit, inputs)
    assert largest.elements < query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2]


def test_the_map_itself_would_be_larger(monkeypatch):
    from tokprune.functional import attention_probabilities

    with Largest() as largest:
        attention_probabilities(*layer(3, 4, 32, 300, 4), 0.5)
    assert largest.elements == 3 * 4 * 32 * 300


SHAPES = [(2, 3, 5, 7, 8), (1, 2, 70, 65, 8)]


def cases(sizes, candidates):
    query, key = layer(*sizes)
    weights = torch.rand(voters(query, key, candidates))
    mask = torch.rand(1, 1, sizes[2], sizes[3]) > 0.3
    return [{}, {"weights": weights}, {"mask": mask, "protected": 2}, {"mask": mask.float(), "weights": weights}]


@either_side
@both
@pytest.mark.parametrize("cells", [2**20, 2000])
@pytest.mark.parametrize("sizes", SHAPES)
def test_nothing_depends_on_the_numbers_so_nothing_waits_for_them(monkeypatch, candidates, count, sizes, cells):
    monkeypatch.setattr(chunks, "CPU_CELLS", cells)
    with FakeTensorMode(allow_non_fake_inputs=True):  # numbers do not exist here: whoever asks for one gets an error
        query, key = layer(*sizes)
        for options in cases(sizes, candidates):
            assert count(query, key, 0.5, candidates=candidates, **options).shape[0] == sizes[0]


def test_asking_for_a_number_would_be_an_error():
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        torch.rand(3).max().item()


@either_side
@both
@pytest.mark.parametrize("sizes", [SHAPES[0], pytest.param(SHAPES[1], marks=pytest.mark.slow)])
def test_torch_compiles_it_without_a_break(candidates, count, sizes):
    torch._dynamo.reset()  # other tests compiled the same functions for other shapes
    query, key = layer(*sizes)
    compiled = torch.compile(count, fullgraph=True, backend="eager")
    for options in cases(sizes, candidates):
        options["candidates"] = candidates
        assert torch.equal(compiled(query, key, 0.5, **options), count(query, key, 0.5, **options))
