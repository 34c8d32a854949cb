"""The kernels compile for real devices, also where there is none, and keep what they work on in registers."""

import re
import subprocess
import warnings
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from tokprune.kernels.fused import columns, launch, points, rows  # noqa: E402

pytestmark = pytest.mark.skipif(launch.interpreted(), reason="Triton interprets in this process")

SPILLED = 64
"""Bytes per thread that may go to memory; a tile that is too large spills hundreds or thousands."""

BLOCKS = {"float16": {"CHUNKED": False, "BLOCK_DIM": 64}, "float32": {"CHUNKED": True, "BLOCK_DIM": 32}}
POINTS = {"WEIGHTED": True, "KEYS": False, "BLOCK_VOTER": 32, "BLOCK_SUMMED": 32, "TOGETHER": True, "BLOCK_TOKEN": 32}
LARGE = {**POINTS, "BLOCK_TOKEN": 64, "BLOCK_VOTER": 16}
KERNELS = {
    "32 candidates": (points.points, {**POINTS, "SUMS": 1}),
    "32 candidates, masked": (points.points, {**POINTS, "SUMS": 1, "MASK": 1}),
    "64 candidates": (points.points, {**LARGE, "SUMS": 1}),
    "64 keys": (points.points, {**LARGE, "SUMS": 0, "KEYS": True}),
    "many candidates": (points.points, {**POINTS, "SUMS": 2, "TOGETHER": False}),
    "sums of rows": (rows.row_sums, {"WEIGHTED": False, "SHARES": False}),
    "sums of columns": (columns.column_sums, {"WEIGHTED": True, "WHOLE": False}),
}


def compiled(kernel, dtype, constants, capability):
    """Machine code of one version of a kernel, strides as they are for contiguous tensors."""
    edge = 32 if dtype == "float32" else 64
    constants = {"BLOCK_QUERY": edge, "BLOCK_KEY": edge, "MASK": 0, **BLOCKS[dtype], **constants}
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    pointers = dict.fromkeys(("query", "key", "token", "voter"), f"*{dtype.replace('loat', 'p')}") | {"mask": "*u8"}
    signature, attributes = {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name.endswith(("_dim", "group")):
            constants[name] = 1
        plain = "fp32" if name == "scale" else "i32" if "_" in name or name in ("dim", "protected") else "*fp32"
        signature[name] = "constexpr" if name in constants else pointers.get(name, plain)
        known = (
            name in constants or name in ("scale", "protected") or name.startswith("mask") or name.endswith("_count")
        )
        if not known:
            attributes[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    warps = 8 if constants.get("BLOCK_TOKEN") == 64 else 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps})


def inspect(tool, code, folder, *options):
    """What one of the tools that Triton brings along says about machine code."""
    path = Path(triton.__file__).parent / "backends/nvidia/bin" / tool
    if not path.exists():
        pytest.skip(f"compiled, but this Triton brings no {tool} to look at the code")
    (folder / "kernel.cubin").write_bytes(code.asm["cubin"])
    return subprocess.run([path, *options, folder / "kernel.cubin"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("dtype", BLOCKS)
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_compiles_and_does_not_spill(name, dtype, tmp_path):
    code = compiled(KERNELS[name][0], dtype, KERNELS[name][1], 90)
    used = inspect("cuobjdump", code, tmp_path, "--dump-resource-usage")
    assert int(re.search(r"STACK:(\d+)", used)[1]) <= SPILLED


@pytest.mark.parametrize("capability", [80, 120])
def test_other_generations_compile_too(capability):
    kernel, constants = KERNELS["32 candidates"]
    assert compiled(kernel, "float16", constants, capability).asm["cubin"]


def test_a_duel_is_sharpened_and_clamped_in_one_instruction(tmp_path):
    # Or ranking, which is most of the work, would take twice as long. 32 x 32 duels of 32 voters by 128 threads.
    kernel, constants = KERNELS["32 candidates"]
    instructions = inspect("nvdisasm", compiled(kernel, "float16", constants, 90), tmp_path, "-c")
    assert len(re.findall(r"FFMA\.SAT", instructions)) == 32 * 32 * 32 // 128
