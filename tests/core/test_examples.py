"""The examples in the docstrings of the whole core say the truth."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import tokprune

PACKAGES = ("functional", "scorers", "aggregators", "selectors", "reductions", "testing")
MODULES = ["keep", "layers", "policy", "registry", "signal", "specs", "votes", "hookspecs", "errors", "listing"]
for package in PACKAGES:
    folder = importlib.import_module(f"tokprune.{package}").__path__
    MODULES += [package, *(f"{package}.{module.name}" for module in pkgutil.iter_modules(folder))]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_the_examples_of_a_module_say_the_truth(name):
    module = importlib.import_module(f"tokprune.{name}")
    names = {"torch": torch, "tokprune": tokprune, **vars(module)}
    assert doctest.testmod(module, globs=names).failed == 0


def test_every_public_function_has_an_example():
    for name in tokprune.functional.__all__:
        assert ">>>" in getattr(tokprune.functional, name).__doc__, name
