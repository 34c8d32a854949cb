"""Everything that a distribution registers, and the laws of all of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tokprune.errors import PluginError
from tokprune.plugins import builtin_plugin, plugin_distributions, plugins_of
from tokprune.registry import KINDS, Entry, Registry, default_registry
from tokprune.testing import registration
from tokprune.testing.kinds import laws_of
from tokprune.testing.laws import Law


@dataclass(frozen=True, eq=False)
class Check:
    """One law, to be checked on one registered component.

    Attributes:
        entry: the registered component.
        label: its name, with the options of the example.
        law: the law.
    """

    entry: Entry
    label: str
    law: Law

    def __str__(self) -> str:
        return f"{self.entry.kind} {self.label} {self.law.name}"


def checks_of(distribution: str = "tokprune") -> list[Check]:
    """Every law for every component that a distribution registers, in order.

    Args:
        distribution: its name, as pip knows it. It is loaded through its entry points.

    Raises:
        PluginError: it is not installed, cannot be loaded, registers something unusable, or nothing.

    Example:
        >>> [str(check) for check in checks_of("tokprune")][:2]
        ['scorer catp-vote can-be-made', 'scorer catp-vote says-what-it-does']
    """
    built_in = distribution == "tokprune"
    plugins = [] if built_in else list(plugins_of(distribution))
    registry = Registry([builtin_plugin(), *plugins])
    own = "tokprune" if built_in else plugins[0].distribution
    entries = [entry for kind in KINDS for entry in registry.entries(kind) if entry.distribution == own]
    if not entries:
        raise PluginError(f"distribution {distribution!r} registers no component; its hooks return empty mappings")
    _check_that_names_lead_here(entries)
    return [check for entry in entries for check in _checks(entry, registry)]


def check_distribution(distribution: str) -> None:
    """Check everything that a distribution registers.

    Raises:
        AssertionError: the first law that is broken, in words, with the smallest example found.
        PluginError: see `checks_of`.
    """
    __tracebackhide__ = True
    for check in checks_of(distribution):
        check.law.check()


def conformance_test(distribution: str) -> Callable[..., None]:
    """A test for pytest: every law for every component that a distribution registers, each under a name of its own.

    All that a plugin's test file needs is `test_conformance = tokprune.testing.conformance_test("my-distribution")`.

    Args:
        distribution: its name, as pip knows it.

    Raises:
        PluginError: see `checks_of`.
    """
    import pytest

    @pytest.mark.parametrize("check", checks_of(distribution), ids=str)
    def test_conformance(check: Check) -> None:
        __tracebackhide__ = True
        check.law.check()

    return test_conformance


def other_distributions() -> list[str]:
    """Names of the installed distributions that bring plugins."""
    return [name for name in plugin_distributions() if name != "tokprune"]


def _check_that_names_lead_here(entries: list[Entry]) -> None:
    for entry in entries:
        known = default_registry().entries(entry.kind, entry.name)
        if not known or known[0].cls is not entry.cls:
            raise PluginError(
                f"{entry.kind} {entry.name!r} of distribution {entry.distribution!r} is not what its name stands for "
                f"in this process: is it left out by TOKPRUNE_PLUGINS={os.environ.get('TOKPRUNE_PLUGINS')!r}, or "
                "was it installed after tokprune had looked?"
            )


def _checks(entry: Entry, registry: Registry) -> Iterator[Check]:
    for law in registration.laws(registration.Registered(entry, registry)):
        yield Check(entry, entry.name, law)
    try:
        examples = registration.examples_of(entry)
        more: dict[str, Any] = {}
        if entry.kind == "adapter":
            more["model"], more["inputs"] = registration.example_of(entry)
    except Exception:  # the laws of being registered report it
        return
    for component in examples:
        label = registry.spec_of(entry.kind, component) or entry.name
        for law in laws_of(entry.kind, component, **more):
            yield Check(entry, label, law)
