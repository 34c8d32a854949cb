"""What is remembered of a generation, from its prompt to its last step: by its cache, and no longer than that."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from tokprune.adapters.upstream import CACHE_IN_WORDS
from tokprune.errors import UnsupportedCallError


class Generations:
    """Something for each cache of keys and values. A copy begins empty, for no cache belongs to a copied model."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def remember(self, cache: Any, value: Any) -> None:
        """Note what belongs to `cache`."""
        self._known[cache] = value

    def knows(self, cache: Any) -> bool:
        """Whether anything was noted of `cache`."""
        return cache is not None and cache in self._known

    def forget(self, cache: Any) -> None:
        """Note that nothing belongs to `cache` any more."""
        self._known.pop(cache, None)

    def recall(self, cache: Any) -> Any:
        """What was noted of `cache`.

        Raises:
            UnsupportedCallError: nothing was: it was filled by a call that was not seen.
        """
        if cache not in self._known:
            raise UnsupportedCallError(
                f"{CACHE_IN_WORDS} was filled before the policy came, or by a copy of the model: which tokens stayed "
                "is not known; begin again with the prompt, or call handle.remove() first"
            )
        return self._known[cache]

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._known = WeakKeyDictionary()


def filled(cache: Any) -> bool:
    """Whether a cache holds anything of earlier steps."""
    return cache is not None and int(cache.get_seq_length()) > 0


def is_static(cache: Any) -> bool:
    """Whether a cache, or one of its two, has its full size from the beginning."""
    parts = (cache, getattr(cache, "self_attention_cache", None), getattr(cache, "cross_attention_cache", None))
    return any(bool(getattr(part, "is_compileable", False)) for part in parts)
