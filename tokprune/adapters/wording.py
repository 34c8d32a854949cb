"""How messages name an adapter and a target, in the same words everywhere."""

from __future__ import annotations

from collections.abc import Iterable

from tokprune.errors import AdapterError
from tokprune.interfaces import Cut


def at_target(name: str, cut: Cut) -> str:
    """The adapter and the target of a policy."""
    return f"adapter {name!r} target {cut.target!r}"


def check_target(name: str, cut: Cut, targets: Iterable[str]) -> None:
    """Raise `AdapterError` unless the policy's target is one of the adapter's."""
    known = list(targets)
    if cut.target not in known:
        listed = ", ".join(map(repr, known))
        raise AdapterError(f"adapter {name!r} has no target {cut.target!r}; its targets: {listed}")
