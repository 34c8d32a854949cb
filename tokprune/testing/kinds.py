"""The laws of a component of any kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokprune.errors import UnknownNameError
from tokprune.testing import adapters, aggregators, reductions, scorers, selectors
from tokprune.testing.laws import Law, check_all

_LAWS: Mapping[str, Callable[..., list[Law]]] = {
    "scorer": scorers.laws,
    "aggregator": aggregators.laws,
    "selector": selectors.laws,
    "reduction": reductions.laws,
    "adapter": adapters.laws,
}


def laws_of(kind: str, component: Any, **options: Any) -> list[Law]:
    """The laws of a kind for one component, in the order in which they should be checked.

    Args:
        kind: "scorer", "aggregator", "selector", "reduction" or "adapter".
        component: the object.
        options: of that kind's own check, such as `by_position=True`; an adapter needs `model` and `inputs`.

    Raises:
        UnknownNameError: there is no such kind.
    """
    if kind not in _LAWS:
        raise UnknownNameError(f"there is no check for a {kind!r}; the kinds are {', '.join(_LAWS)}")
    return _LAWS[kind](component, **options)


def check_component(kind: str, component: Any, **options: Any) -> None:
    """Check a component by the laws of its kind: what `check_scorer` and its siblings do, for tests over all of them.

    Args:
        kind: "scorer", "aggregator", "selector", "reduction" or "adapter".
        component: the object.
        options: of that kind's own check, such as `by_position=True`; an adapter needs `model` and `inputs`.

    Raises:
        AssertionError: the first law that is broken, in words, with the smallest example found.

    Example:
        >>> from tokprune.selectors import TopP
        >>> check_component("selector", TopP())
    """
    __tracebackhide__ = True
    check_all(laws_of(kind, component, **options))
