"""What holds for all tests: one thread, no plugins but our own, and hypothesis the same everywhere."""

import os

# Tests are about what ships here, so plugins that happen to be installed stay out; tests of plugins ask for them.
os.environ["TOKPRUNE_PLUGINS"] = ""
# No test needs the network; asking a hub that cannot be reached takes half a minute to find that out.
os.environ["HF_HUB_OFFLINE"] = "1"

import sys

import pytest
import torch
from hypothesis import HealthCheck, settings

from tokprune.registry import default_registry

# Small tensors: threads only wait for each other.
torch.set_num_threads(1)

usual = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("usual", usual)
settings.register_profile("ci", usual, derandomize=True)
settings.register_profile("thorough", usual, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "usual"))


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Every test begins with the same random numbers, whichever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution with one module and an entry point, and choose which plugins are loaded."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("TOKPRUNE_PLUGINS")
    modules = set(sys.modules)

    def install(distribution, code, point=None, version="1.2"):
        module = distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(code)
        metadata = tmp_path / f"{module}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (metadata / "entry_points.txt").write_text(f"[tokprune]\n{point or distribution} = {module}\n")
        default_registry.cache_clear()

    yield install
    for name in set(sys.modules) - modules:
        if hasattr(sys.modules[name], "__file__") and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]
    default_registry.cache_clear()
