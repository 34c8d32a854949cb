"""Fitting: which registered scorers can work on a model, and why the others cannot."""

from __future__ import annotations

from torch import nn

from tokprune.fit import bound_to, choose_target, misfits
from tokprune.registry import default_registry


def reasons_against(model: nn.Module, target: str | None = None) -> dict[str, tuple[str, ...]]:
    """Scorer name -> why it does not fit what the model's adapter offers; empty for scorers that do.

    Args:
        model: The model.
        target: Which tokens may go; None for the adapter's default.

    Raises:
        AdapterError: No adapter knows the model, or its adapter does not know the target.
    """
    bound = bound_to(model)
    chosen = choose_target(bound, target)
    offered = bound.offers[chosen]
    return {e.name: misfits(e.cls, chosen, offered) for e in default_registry().entries("scorer")}
