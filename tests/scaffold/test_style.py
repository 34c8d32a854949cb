"""What is written passes this project's own formatter, linter and type checker, where they are installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tokprune.registry import KINDS
from tokprune.scaffold import new_distribution

from .test_files import LONG

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "pyproject.toml"


UNREAD = """
[[tool.mypy.overrides]]
module = [
  "torch._dynamo.*", "torch._export.*", "torch._functorch.*", "torch._higher_order_ops.*", "torch._inductor.*",
  "torch._library.*", "torch._native.*", "torch._numpy.*", "torch._prims.*", "torch._refs.*", "torch._subclasses.*",
  "torch.ao.*", "torch.distributed.*", "torch.distributions.*", "torch.export.*", "torch.fx.*", "torch.jit.*",
  "torch.onnx.*", "torch.optim.*", "torch.package.*", "torch.profiler.*", "torch.quantization.*", "torch.sparse.*",
  "torch.testing.*",
]
follow_imports = "skip"
"""
"""Parts of torch that no component touches: reading all of it takes mypy half a minute."""


def tool(name: str, *arguments: str, folder: Path) -> str:
    """What a tool complains about in a folder; skips the test where there is no such tool."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    command = [sys.executable, "-m", name, *arguments]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=280, check=False)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x", *LONG, "votes"])
def test_format_and_lint(kind: str, name: str, tmp_path: Path) -> None:
    folder = new_distribution(kind, name).write(tmp_path)
    for settings in (["--config", str(SETTINGS)], []):  # this project's, and those that come with it
        for command in (["check", "--output-format", "concise"], ["format", "--diff"]):
            assert not tool("ruff", *command, "--no-cache", *settings, ".", folder=folder)


@pytest.mark.slow
def test_types(tmp_path: Path) -> None:
    for kind in KINDS:
        folder = new_distribution(kind, f"far-{kind}").write(tmp_path)
        for part in (folder / f"tokprune_far_{kind}", folder / "tests" / f"test_far_{kind}.py"):
            part.rename(tmp_path / part.name)
    strict = tmp_path / "pyproject.toml"
    strict.write_text(SETTINGS.read_text() + UNREAD)
    settings = ["--config-file", str(strict), "--cache-dir", str(ROOT / ".mypy_cache" / "written")]
    paths = sorted(str(path.name) for path in tmp_path.glob("*_far_*"))
    assert len(paths) == 2 * len(KINDS)
    assert not tool("mypy", *settings, "--strict", *paths, folder=tmp_path)
