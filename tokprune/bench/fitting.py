"""Fitting: which registered scorers can work on a model, and what the others miss."""

from __future__ import annotations

from torch import nn

from tokprune.fit import adapter_for, choose_target, missing_needs
from tokprune.registry import default_registry


def missing_signals(model: nn.Module, target: str | None = None) -> dict[str, tuple[str, ...]]:
    """Scorer name -> what it needs and the model's adapter does not offer; empty for scorers that fit.

    Args:
        model: The model.
        target: Which tokens may go; None for the adapter's default.

    Raises:
        AdapterError: No adapter knows the model, or its adapter does not know the target.
    """
    adapter = adapter_for(model)
    chosen = choose_target(model, adapter, target)
    offered = adapter.offers(model)[chosen]
    return {e.name: missing_needs(e.cls, chosen, offered) for e in default_registry().entries("scorer")}
