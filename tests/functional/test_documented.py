"""The pure functions are the reference, so each says what it computes, on what shapes, with an example."""

import pytest

from tokprune import functional


@pytest.mark.parametrize("name", functional.__all__)
def test_every_pure_function_gives_arguments_result_and_an_example(name):
    text = getattr(functional, name).__doc__
    for part in ("Args:", "Returns:", "Example:", ">>>"):
        assert part in text
