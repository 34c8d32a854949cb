"""The kernels compile for a GPU that is not there, down to its machine code."""

import inspect

import pytest
import torch

from tokprune.kernels.inputs import AttentionInput

triton = pytest.importorskip("triton")

TYPES = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.uint8: "*u8"}
HOPPER = 90

LAYERS = {
    "CATP on BLIP-2": ("points", {"queries": 32, "keys": 257, "candidates": "query"}),
    "hundreds of queries, float32": ("points", {"queries": 300, "keys": 577, "dtype": torch.float32}),
    "received attention, 88 dimensions": ("total", {"queries": 257, "keys": 257, "candidates": "key", "dim": 88}),
    "masked and weighted": ("points", {"queries": 64, "keys": 100, "masked": True}),
}


def layer(queries, keys, candidates="query", dtype=torch.bfloat16, dim=64, masked=False):
    query, key = torch.zeros(2, 4, queries, dim, dtype=dtype), torch.zeros(2, 4, keys, dim, dtype=dtype)
    mask = torch.ones(2, 1, 1, keys, dtype=torch.bool) if masked else None
    weights = torch.ones(2, 4 * keys) if masked else None
    return AttentionInput.checked("test", query, key, 0.1, mask, candidates, weights, 0)


class Noted:
    """Stands in for a kernel and notes what it would be launched with."""

    def __init__(self, kernel, launches):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid):
        return lambda *args, **options: self.launches.append((self.kernel, args, options))


def machine_code(kernel, args, options):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    settings = {name: options.pop(name) for name in ("num_warps", "num_stages") if name in options}
    given = inspect.signature(kernel.fn).bind(*args, **options).arguments
    signature, constants = {}, {}
    for place, parameter in enumerate(kernel.params):
        value = given[parameter.name]
        if parameter.is_constexpr:
            signature[parameter.name], constants[(place,)] = "constexpr", value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = TYPES[value.dtype]
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    return triton.compile(source, target=GPUTarget("cuda", HOPPER, 32), options=settings)


@pytest.mark.parametrize("case", LAYERS)
def test_it_compiles_for_a_gpu(case, monkeypatch, tmp_path):
    from tokprune.kernels.fused import launch

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    launches = []
    for name in ("count_points", "column_sums", "row_sums"):
        monkeypatch.setattr(launch, name, Noted(getattr(launch, name), launches))
    monkeypatch.setattr(launch, "interpreted", lambda: False)
    count, shape = LAYERS[case]
    getattr(launch, count)(layer(**shape))
    assert launches
    for kernel, args, options in launches:
        built = machine_code(kernel, args, dict(options))
        assert len(built.asm["cubin"]) > 1000
        assert built.metadata.shared <= 48 * 1024
