"""The kernels compile for a GPU that is not there, as they would be launched, and stay in its registers."""

import re
import subprocess
import warnings
from pathlib import Path

import pytest
import torch

from tokprune.kernels.inputs import AttentionInput

triton = pytest.importorskip("triton")

HOPPER = 90
SPILLED = 64
"""Bytes per thread that may go to memory; a tile that is too large for the registers spills hundreds or thousands."""
SHARED = 48 * 1024
"""Bytes of shared memory that any GPU gives a program."""

LAYERS = {
    "CATP on BLIP-2": ("points", {}),
    "CATP on BLIP-2, float32": ("points", {"dtype": torch.float32}),
    "CATP on thousands of image tokens": ("points", {"keys": 2880}),
    "sixty-four queries": ("points", {"queries": 64}),
    "sixty-four queries, float32": ("points", {"queries": 64, "dtype": torch.float32}),
    "hundreds of queries": ("points", {"queries": 300, "keys": 577}),
    "hundreds of queries, float32": ("points", {"queries": 300, "keys": 577, "dtype": torch.float32}),
    "queries rank few keys": ("points", {"keys": 50, "candidates": "key"}),
    "queries rank many keys": ("points", {"keys": 257, "candidates": "key"}),
    "masked and weighted": ("points", {"queries": 64, "keys": 100, "masked": True, "dtype": torch.float16}),
    "received attention": ("total", {"queries": 257, "candidates": "key"}),
    "received attention, 88 dimensions": ("total", {"queries": 257, "candidates": "key", "dim": 88}),
    "received attention, float32": ("total", {"queries": 257, "candidates": "key", "dtype": torch.float32}),
    "received attention of few tokens": ("total", {"keys": 32, "candidates": "key"}),
    "received attention of 128 tokens": ("total", {"keys": 128, "candidates": "key"}),
}


def layer(queries=32, keys=257, candidates="query", dtype=torch.bfloat16, dim=64, masked=False):
    query, key = torch.zeros(2, 4, queries, dim, dtype=dtype), torch.zeros(2, 4, keys, dim, dtype=dtype)
    mask = torch.ones(2, 1, 1, keys, dtype=torch.bool) if masked else None
    weights = torch.ones(2, 4 * (keys if candidates == "query" else queries)) if masked else None
    return AttentionInput.checked("test", query, key, 0.1, mask, candidates, weights, 0)


class ADriver:
    """Says that there is a GPU, which is enough for compiling."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_device(self):
        return 1000 + self.capability  # kernels are kept by device: not with those of a real one

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)


class Compiling:
    """Stands in for a kernel: compiles what would be launched, as a launch would, and keeps it."""

    def __init__(self, kernel, built):
        self.kernel, self.built = kernel, built

    def __getitem__(self, grid):
        return lambda *args, **options: self.built.append(self.kernel.warmup(*args, grid=grid, **options))


def compiled(case, monkeypatch, folder, capability=HOPPER):
    """Everything that counting a layer would launch."""
    from tokprune.kernels.fused import launch

    if launch.interpreted():
        pytest.skip("Triton interprets in this process")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(folder))
    monkeypatch.setattr(triton.runtime.driver, "_active", ADriver(capability))
    built = []
    for name in ("count_points", "column_sums", "row_sums"):
        monkeypatch.setattr(launch, name, Compiling(getattr(launch, name), built))
    monkeypatch.setattr(launch, "interpreted", lambda: False)
    count, shape = LAYERS[case]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(launch, count)(layer(**shape))
    assert built
    return built


def looked_at(tool, built, folder, *options):
    """What one of the tools that Triton brings along says about machine code."""
    path = Path(triton.__file__).parent / "backends/nvidia/bin" / tool
    if not path.exists():
        pytest.skip(f"it compiles, but this Triton brings no {tool} to look at the code")
    (folder / "kernel.cubin").write_bytes(built.asm["cubin"])
    return subprocess.run([path, *options, folder / "kernel.cubin"], capture_output=True, text=True, check=True).stdout


IN_EACH_TIER = ("CATP on BLIP-2", "queries rank many keys", "received attention")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in IN_EACH_TIER else [pytest.mark.slow]) for case in LAYERS]
)
def test_it_compiles_for_a_gpu_and_stays_in_registers(case, monkeypatch, tmp_path):
    for kernel in compiled(case, monkeypatch, tmp_path):
        assert kernel.metadata.shared <= SHARED
        used = looked_at("cuobjdump", kernel, tmp_path, "--dump-resource-usage")
        assert int(re.search(r"STACK:(\d+)", used)[1]) <= SPILLED


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 120])
def test_other_generations_compile_too(capability, monkeypatch, tmp_path):
    for kernel in compiled("CATP on BLIP-2", monkeypatch, tmp_path, capability):
        assert kernel.metadata.target.arch == capability
        assert len(kernel.asm["cubin"]) > 1000


def test_a_duel_is_sharpened_and_clamped_in_one_instruction(monkeypatch, tmp_path):
    # Or ranking, which is most of the work, would take twice as long. 32 x 32 duels of 32 voters by 128 threads.
    [kernel] = compiled("CATP on BLIP-2", monkeypatch, tmp_path)
    instructions = looked_at("nvdisasm", kernel, tmp_path, "-c")
    assert len(re.findall(r"FFMA\.SAT", instructions)) == 32 * 32 * 32 // 128
