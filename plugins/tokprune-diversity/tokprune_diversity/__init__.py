"""Selectors that keep tokens which differ from each other, for any target: `divprune` and `dpp`."""

from __future__ import annotations

import tokprune
from tokprune_diversity.divprune import DivPrune
from tokprune_diversity.dpp import Dpp

__all__ = ["DivPrune", "Dpp", "register_selectors"]


@tokprune.hookimpl
def register_selectors() -> dict[str, type]:
    """Name -> class of the selectors this plugin adds."""
    return {"divprune": DivPrune, "dpp": Dpp}
