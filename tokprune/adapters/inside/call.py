"""State of one call of a model whose image tokens leave inside its language model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from tokprune.adapters.calls import Observation
from tokprune.adapters.inside.layout import Layout, Looks
from tokprune.adapters.inside.shorter import Shorter
from tokprune.adapters.rows import Rows


@dataclass(kw_only=True)
class Prompt(Observation):
    """One call that reads images: its prompt is cut on its way."""

    layout: Layout
    sizes: list[int] | None = None
    """How many tokens each image has."""
    encoded: bool = False
    """Whether the images were encoded before copies were made of the prompts."""
    embeds: Tensor | None = None
    mask: Tensor | None = None
    """The mask that the layers are given `[row 1 query key]`."""
    turns: Any = None
    """Cosines and sines of the positions."""
    voters: Rows | None = None
    looks: dict[int, Looks] = field(default_factory=dict)
    shorter: Shorter | None = None
    """What goes on; None before the cut, and where everything stays."""
    given: dict[str, Any] = field(default_factory=dict)
    """What the layers behind the cut are given instead."""

    def once(self, values: Tensor) -> Tensor:
        """Of values for each row `[row ...]`, or the same for all, those for each prompt, copies left out."""
        return values[:: self.layout.copies]


@dataclass(kw_only=True)
class Continuation(Observation):
    """One call that goes on from a cache whose prompt was cut."""

    shorter: Shorter
