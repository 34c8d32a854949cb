"""Names of what is installed, sorted, with shell-style wildcards."""

from __future__ import annotations

from tokprune.registry import default_registry


def list_scorers(pattern: str = "*") -> list[str]:
    """Names of the registered scorers that match, e.g. "catp*"."""
    return default_registry().names("scorer", pattern)


def list_aggregators(pattern: str = "*") -> list[str]:
    """Names of the registered aggregators that match."""
    return default_registry().names("aggregator", pattern)


def list_selectors(pattern: str = "*") -> list[str]:
    """Names of the registered selectors that match."""
    return default_registry().names("selector", pattern)


def list_reductions(pattern: str = "*") -> list[str]:
    """Names of the registered reductions that match."""
    return default_registry().names("reduction", pattern)


def list_adapters(pattern: str = "*") -> list[str]:
    """Names of the registered adapters that match."""
    return default_registry().names("adapter", pattern)
