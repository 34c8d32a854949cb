"""What holds for all tests: one thread, no plugins but our own, and hypothesis the same everywhere."""

import os

# Tests are about what ships here, so plugins that happen to be installed stay out; tests of plugins ask for them.
os.environ["TOKPRUNE_PLUGINS"] = ""

import pytest
import torch
from hypothesis import HealthCheck, settings

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
