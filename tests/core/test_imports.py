"""What `import tokprune` brings along, and what it does not."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tokprune

HEAVY = ("transformers", "timm", "triton", "scipy", "matplotlib", "torchvision", "rich", "typer", "hypothesis", "PIL")


IN_A_FRESH_PYTHON = f"""
import sys, torch
known = set(sys.modules)
import importlib.metadata
importlib.metadata.entry_points = lambda **group: 1 / 0
import tokprune, tokprune.registry
print(*set({HEAVY}) & set(sys.modules) - known)
print(tokprune.registry.default_registry.cache_info().currsize, "registries")
print(*[name for name in ("tokprune.zoo", "tokprune.testing", "tokprune.bench") if name in sys.modules])
import tokprune.zoo
print("transformers" in sys.modules)
from tokprune.kernels import attention_points
attention_points(torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2, 3), 1.0, candidates="key")
print("triton" in sys.modules)
sys.modules["hypothesis"] = None
from tokprune.testing import check_selector
try: from tokprune.testing import votes
except ImportError as error: print(error)
import tokprune.cli
sys.argv = ["tokprune", "list", "--help"]
try: tokprune.cli.main()
except SystemExit: pass
print(*[name for name in ("transformers", "timm", "matplotlib", "scipy.stats") if name in sys.modules])
"""


@pytest.fixture(scope="module")
def fresh():
    """What one new Python says, line by line; starting it takes seconds."""
    done = subprocess.run([sys.executable, "-c", IN_A_FRESH_PYTHON], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_import_tokprune_brings_torch_and_nothing_heavy(fresh):
    assert fresh[0] == ""


def test_import_tokprune_loads_no_plugin_and_builds_no_registry(fresh):
    assert fresh[1] == "0 registries"


def test_large_parts_are_loaded_on_first_use(fresh):
    assert fresh[2] == ""
    for name in ("zoo", "testing", "bench"):
        assert getattr(tokprune, name).__name__ == f"tokprune.{name}"


def test_importing_the_zoo_is_cheap(fresh):
    assert fresh[3] == "False"


def test_counting_on_a_cpu_does_not_import_triton(fresh):
    assert fresh[4] == "False"


def test_checks_need_no_hypothesis_and_strategies_say_so(fresh):
    assert "tokprune.testing.votes is a hypothesis strategy: pip install hypothesis" in fresh[5]


def test_help_imports_no_models_library(fresh):
    assert "List every component" in " ".join(fresh[6:])
    assert fresh[-1] == ""


def test_an_unknown_attribute_is_an_ordinary_error():
    with pytest.raises(AttributeError, match="module 'tokprune' has no attribute 'nonsense'"):
        _ = tokprune.nonsense


def test_all_names_are_there_sorted_and_once():
    assert list(tokprune.__all__) == sorted(set(tokprune.__all__))
    for name in tokprune.__all__:
        assert getattr(tokprune, name) is not None


def test_input_is_checked_with_raise_and_never_with_assert():
    for path in Path(tokprune.__file__).parent.rglob("*.py"):
        asserts = [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
        assert not asserts, f"{path.name}:{asserts[0]}"
