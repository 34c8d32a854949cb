"""Does a policy fit a model? Everything that is checked before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from tokprune.errors import AdapterError
from tokprune.interfaces import Adapter, Scorer, Selector
from tokprune.layers import Layers
from tokprune.registry import Registry, default_registry


def adapter_for(model: nn.Module, adapter: str | Adapter | None = None) -> Adapter:
    """The adapter for `model`: the one given, or the first registered one that matches.

    Raises:
        AdapterError: `model` is not a module, or no adapter knows it.
    """
    registry = default_registry()
    if not isinstance(model, nn.Module):
        raise AdapterError(f"expected a torch.nn.Module, got {type(model).__name__}")
    if adapter is not None:
        chosen: Adapter = registry.create("adapter", adapter)
        if not chosen.matches(model):
            raise AdapterError(f"adapter {adapter!r} does not fit a {type(model).__name__}")
        return chosen
    for entry in registry.entries("adapter"):
        candidate: Adapter = entry.cls()
        if candidate.matches(model):
            return candidate
    raise AdapterError(
        f"no adapter knows {type(model).__module__}.{type(model).__name__}. Installed adapters: "
        f"{', '.join(registry.names('adapter'))}; give one with adapter=..., or install a plugin that has one"
    )


def adapter_name(adapter: Adapter, registry: Registry | None = None) -> str:
    """The registered name of an adapter, or its class name."""
    return (registry or default_registry()).spec_of("adapter", adapter) or type(adapter).__name__


def choose_target(model: nn.Module, adapter: Adapter, target: str | None) -> str:
    """`target` if the adapter can cut it on this model; the adapter's first one for None."""
    offers = adapter.offers(model)
    if target is None:
        return next(iter(offers))
    if target not in offers:
        raise AdapterError(
            f"adapter {adapter_name(adapter)!r} cannot cut target {target!r} of a {type(model).__name__}; "
            f"its targets: {', '.join(repr(t) for t in offers)}"
        )
    return target


def required_signals(scorer: Scorer, selector: Selector | None = None) -> dict[str, Layers]:
    """Signal -> layers to capture, for a scorer and what a selector wants besides the scores."""
    layers: Mapping[str, Layers] = getattr(scorer, "layers_read", {})
    required: dict[str, Layers] = {name: layers.get(name, "all") for name in scorer.needs}
    for name in getattr(selector, "wants", ()):
        if name != "votes":
            required[name] = "all"
    return required


def check_signals(model: nn.Module, adapter: Adapter, target: str, who: str, required: Mapping[str, Any]) -> None:
    """Raise `AdapterError` if a required signal is not offered; the message lists the scorers that do fit."""
    offered = adapter.offers(model)[target]
    missing = [name for name in required if name not in offered]
    if missing:
        raise AdapterError(
            f"{who} needs {', '.join(repr(m) for m in missing)}; adapter {adapter_name(adapter)!r} target {target!r} "
            f"offers {', '.join(repr(o) for o in offered)}. Fitting scorers: {', '.join(fitting_scorers(offered))}"
        )


def fitting_scorers(offered: tuple[str, ...]) -> list[str]:
    """Names of the registered scorers whose needs are all offered."""
    scorers = default_registry().entries("scorer")
    return [entry.name for entry in scorers if set(getattr(entry.cls, "needs", ())) <= set(offered)]
