"""The hooks are the one door: each is documented, used by the built-ins, and listed."""

import inspect

import pytest

import tokprune
from tokprune import builtin, hookspecs
from tokprune.registry import KINDS

HOOKS = [name for name, value in vars(hookspecs).items() if inspect.isfunction(value)]


def test_there_is_a_hook_for_every_kind_and_no_other():
    assert sorted(HOOKS) == sorted(f"register_{kind}s" for kind in KINDS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_and_used_by_the_built_ins(hook):
    assert inspect.getdoc(getattr(hookspecs, hook)).startswith("Return name -> class")
    assert hasattr(getattr(builtin, hook), "tokprune_impl")
    assert getattr(builtin, hook)()


@pytest.mark.parametrize("hook", HOOKS)
def test_what_the_built_ins_register_is_public_and_documented(hook):
    package = getattr(tokprune, hook.removeprefix("register_"), None) or __import__(
        "tokprune.adapters", fromlist=["adapters"]
    )
    for name, component in getattr(builtin, hook)().items():
        assert inspect.getdoc(component), name
        assert component.__name__ in package.__all__


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_listed_with_wildcards(kind):
    listed = getattr(tokprune, f"list_{kind}s")
    assert listed() == sorted(getattr(builtin, f"register_{kind}s")())
    assert listed("no such name*") == []


@pytest.mark.parametrize("package", ["scorers", "aggregators", "selectors", "reductions"])
def test_every_public_class_is_registered(package):
    module = getattr(tokprune, package)
    registered = {component.__name__ for component in getattr(builtin, f"register_{package}")().values()}
    assert registered == set(module.__all__)
