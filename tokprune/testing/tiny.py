"""Tiny models to try the built-in adapters on; other adapters bring their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokprune import adapters


def _blip2() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_blip2 import prompts, tiny_blip2

    return tiny_blip2("opt"), prompts("opt", pads=(0, 0))


EXAMPLES: Mapping[type, Callable[[], tuple[Any, Mapping[str, Any]]]] = {adapters.Blip2: _blip2}
"""Adapter class -> a function that makes a tiny model it knows and the keyword arguments of one forward."""
