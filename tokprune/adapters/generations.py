"""What is remembered of a generation, from its prompt to its last step: on its cache, whose copies know it too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from uuid import uuid4
from weakref import ref

from torch import Tensor

from tokprune.adapters.upstream import CACHE_IN_WORDS, ROW_CHANGES, rows_in
from tokprune.errors import UnsupportedCallError

_NOTES = "_tokprune_generations"


class Noted(Protocol):
    """What can be remembered of the rows of a cache."""

    @property
    def batch(self) -> int:
        """How many rows it is about."""

    def picked(self, pick: Callable[[Tensor], Tensor]) -> Noted:
        """The same of other rows: `pick` takes them from each tensor `[row ...]`."""


class Generations:
    """Something for each cache of keys and values, kept on the cache itself, by a name that each cut has for itself.

    A copy of the cut has another name, for no cache belongs to a copied model.
    """

    def __init__(self) -> None:
        self._name = uuid4().hex

    def remember(self, cache: Any, value: Noted | None) -> None:
        """Note what belongs to `cache`."""
        notes = vars(cache).setdefault(_NOTES, {})
        notes[self._name] = value
        for method in ROW_CHANGES:
            if hasattr(cache, method) and method not in vars(cache):
                vars(cache)[method] = _Following(cache, method)

    def knows(self, cache: Any) -> bool:
        """Whether anything was noted of `cache`."""
        return self._name in _notes(cache)

    def forget(self, cache: Any) -> None:
        """Note that nothing belongs to `cache` any more."""
        _notes(cache).clear()

    def refuse_others(self, cache: Any) -> None:
        """Raise `UnsupportedCallError` if another cut filled `cache`, and this one did not."""
        if filled(cache) and _notes(cache) and not self.knows(cache):
            raise UnsupportedCallError(
                f"{CACHE_IN_WORDS} was filled under another policy, or by a copy of the model: which tokens stayed is "
                "not known here; begin again with the prompt"
            )

    def recall(self, cache: Any) -> Any:
        """What was noted of `cache`.

        Raises:
            UnsupportedCallError: nothing was: it was filled by a call that was not seen; or its rows are not those.
        """
        self.refuse_others(cache)
        if not self.knows(cache):
            raise UnsupportedCallError(
                f"{CACHE_IN_WORDS} was filled before the policy came, or by a copy of the model: which tokens stayed "
                "is not known; begin again with the prompt, or call handle.remove() first"
            )
        value: Noted | None = _notes(cache)[self._name]
        rows = rows_in(cache)
        if value is not None and rows not in (None, value.batch):
            raise UnsupportedCallError(
                f"{CACHE_IN_WORDS} has {rows} rows, but {value.batch} were pruned: rows came or went in a way that was "
                f"not seen; use the cache's own {' and '.join(ROW_CHANGES)}, or begin again with the prompt"
            )
        return value

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._name = uuid4().hex


class _Following:
    """Stands in for a method of a cache that changes its rows: what is noted of them follows. Copied with the cache.

    It does not keep the cache alive, for else the cache would keep itself alive until Python looks for such rings.
    """

    def __init__(self, cache: Any, method: str) -> None:
        self._cache, self.__name__ = ref(cache), method

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        cache, method = self._cache(), self.__name__
        if cache is None:
            raise UnsupportedCallError(
                f"{method} of a shallow copy of a cache that is gone: copy caches with copy.deepcopy, or begin again "
                "with the prompt"
            )
        getattr(type(cache), method)(cache, *args, **kwargs)
        change = args[0] if args else next(iter(kwargs.values()))
        notes = _notes(cache)
        for name, value in notes.items():
            if value is not None:
                notes[name] = value.picked(lambda rows: ROW_CHANGES[method](rows, change))

    def __reduce__(self) -> tuple[Any, ...]:
        return _Following, (self._cache(), self.__name__)


def _notes(cache: Any) -> dict[str, Any]:
    notes: dict[str, Any] = getattr(cache, "__dict__", {}).get(_NOTES, {})
    return notes


def filled(cache: Any) -> bool:
    """Whether a cache holds anything of earlier steps."""
    return cache is not None and int(cache.get_seq_length()) > 0
