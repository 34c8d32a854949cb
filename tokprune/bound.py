"""An adapter bound to one model: what it offers there, asked once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from inspect import signature
from typing import Any

from torch import nn

from tokprune.after import After
from tokprune.errors import AdapterError
from tokprune.interfaces import Adapter, Attachment, Bound, Cut, Inside, Observed
from tokprune.registry import default_registry

_NOT_BUILT = "it is not built for this pruning point yet"


def bind(adapter: Adapter, model: nn.Module) -> Bound:
    """`adapter` on `model`: what its own `bind` gives, or what its other methods say of the model."""
    own = getattr(adapter, "bind", None)
    return own(model) if own is not None else BoundAdapter(adapter, model)


class BoundAdapter:
    """An adapter without a `bind` of its own, on one model. Its methods are asked of each thing once.

    Args:
        adapter: the adapter.
        model: a model that it matches.
    """

    def __init__(self, adapter: Adapter, model: nn.Module) -> None:
        self.adapter, self.model = adapter, model
        self._elsewhere: dict[Any, tuple[str, ...]] = {}

    @cached_property
    def offers(self) -> Mapping[str, tuple[str, ...]]:
        """Target -> the signals it offers; the default target first."""
        return self.adapter.offers(self.model)

    def offers_after(self, target: str, after: After | None, inside: Inside | None = None) -> tuple[str, ...]:
        """The signals of a target at a pruning point.

        Raises:
            AdapterError: the adapter has no pruning point `inside`.
        """
        ask = getattr(self.adapter, "offers_after", None)
        if inside is not None and (ask is None or "inside" not in signature(ask).parameters):
            raise AdapterError(
                f"adapter {adapter_name(self.adapter)!r} target {target!r} has no pruning point inside the {inside} of "
                f"a {type(self.model).__name__}; omit inside={inside!r}"
            )
        if ask is None or (after is None and inside is None):
            return tuple(self.offers[target])
        key = target, after, inside
        if key not in self._elsewhere:
            self._elsewhere[key] = tuple(ask(self.model, target, after, *_given(inside)))
        return self._elsewhere[key]

    def weighs(self, target: str, after: After | None, inside: Inside | None = None) -> bool | str:
        """True where merged tokens can be weighed at a pruning point, or the reason why not."""
        ask = getattr(self.adapter, "weighs", None)
        found: bool | str = _NOT_BUILT if ask is None else ask(self.model, target, after, *_given(inside))
        return found

    def attach(self, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Check everything, then change the model."""
        return self.adapter.attach(self.model, cut, done, owner)


def adapter_name(adapter: Adapter) -> str:
    """The registered name of an adapter, or its class name."""
    return default_registry().spec_of("adapter", adapter) or type(adapter).__name__


def _given(inside: Inside | None) -> list[Inside]:
    return [] if inside is None else [inside]
