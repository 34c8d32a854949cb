"""Tests for pytest, `pytest --pyargs tokprune.testing.suite`: every law for all that installed plugins register.

With `-p tokprune.testing.plugin --tokprune NAME` only of that distribution; `-k` chooses by words of the names.
"""

from __future__ import annotations

from typing import Any

from tokprune.testing.distribution import Check, checks_of, other_distributions


def pytest_generate_tests(metafunc: Any) -> None:
    """One test for each law and each component."""
    chosen = metafunc.config.getoption("tokprune_distributions", default=None) or other_distributions()
    found = [(name, check) for name in chosen for check in checks_of(name)]
    metafunc.parametrize("check", [check for _, check in found], ids=[f"{name} {check}" for name, check in found])


def test_conformance(check: Check) -> None:
    """A component keeps a law."""
    __tracebackhide__ = True
    check.law.check()
