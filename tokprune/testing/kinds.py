"""Check a component of any kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokprune.errors import UnknownNameError
from tokprune.testing.aggregators import check_aggregator
from tokprune.testing.reductions import check_reduction
from tokprune.testing.scorers import check_scorer
from tokprune.testing.selectors import check_selector

_CHECKS: Mapping[str, Callable[..., None]] = {
    "scorer": check_scorer,
    "aggregator": check_aggregator,
    "selector": check_selector,
    "reduction": check_reduction,
}


def check_component(kind: str, component: Any, **options: Any) -> None:
    """Check a component by the laws of its kind: what `check_scorer` and its siblings do, for tests over all of them.

    Args:
        kind: "scorer", "aggregator", "selector" or "reduction". (Adapters need a model: `check_adapter`.)
        component: the object.
        options: of that kind's own check, such as `by_position=True`.

    Raises:
        AssertionError: the first law that is broken, in words, with the smallest example found.

    Example:
        >>> from tokprune.selectors import TopP
        >>> check_component("selector", TopP())
    """
    if kind not in _CHECKS:
        raise UnknownNameError(f"there is no check for a {kind!r}; the kinds are {', '.join(_CHECKS)}")
    _CHECKS[kind](component, **options)
