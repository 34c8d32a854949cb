"""State of one run through the layers of a language model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from tokprune.adapters.calls import Observation
from tokprune.adapters.decoder.layout import Group, Layout
from tokprune.adapters.decoder.shorter import Shorter
from tokprune.adapters.decoder.votes import Looks
from tokprune.adapters.rows import Rows


@dataclass(frozen=True, eq=False)
class Left:
    """What is left of the prompts after a pruning point.

    Attributes:
        stays: bool `[prompt sequence]`.
        images: how many tokens each image has.
        lengths: how long each prompt is.
        sizes: how many tokens each position stands for, float `[prompt sequence]`; None if each does for itself.
        weighed: whether sizes count in attention.
        shorter: the sequence that goes on; None where it is the whole one.
    """

    stays: Tensor
    images: Sequence[int]
    lengths: Sequence[int]
    sizes: Tensor | None = None
    weighed: bool = False
    shorter: Shorter | None = None


@dataclass(frozen=True, eq=False)
class Step:
    """One pruning point of an attachment.

    Attributes:
        owner: the attachment.
        place: how many layers are in front of it.
    """

    owner: Any
    place: int


@dataclass(frozen=True, eq=False)
class Remembered:
    """What belongs to a cache whose prompt was shortened.

    Attributes:
        shorter: pruning point (how many layers are in front of it) -> the sequence after it.
    """

    shorter: Mapping[int, Shorter]

    @property
    def batch(self) -> int:
        """How many rows there are."""
        return next(iter(self.shorter.values())).batch

    def picked(self, pick: Callable[[Tensor], Tensor]) -> Remembered:
        """The same of other rows, which `pick` takes from each tensor `[row ...]`."""
        return Remembered({place: each.picked(pick) for place, each in self.shorter.items()})


@dataclass(kw_only=True)
class Prompt(Observation):
    """A run that reads prompts with images."""

    layout: Layout
    whole: Left
    cache: Any = None
    embeds: Tensor | None = None
    """The prompt `[row sequence dim]`, where the text is asked for."""
    voters: Rows | None = None
    looks: dict[int, Looks] = field(default_factory=dict)
    left: dict[int, Left] = field(default_factory=dict)
    """Pruning point -> what is left after it."""
    before: Any = None
    """What came to the first pruning point."""
    groups: Sequence[Group] = ()
    """The images at the first pruning point."""
    chosen: list[Any] = field(default_factory=list)
    """What was chosen at each pruning point, one choice for each group."""
    given: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    """Arguments of the layers, by identity, and what they become."""
    layer: int = 0
    """The layer that runs."""

    def once(self, values: Tensor) -> Tensor:
        """Of values for each row `[row ...]` those for each prompt, copies left out."""
        return values[:: self.layout.copies]

    def after(self, place: int) -> Shorter | None:
        """The sequence after a pruning point."""
        return self.left[place].shorter if place in self.left else None


@dataclass(kw_only=True)
class Continuation(Observation):
    """A run that goes on from a cache whose prompt was shortened."""

    shorter: Mapping[int, Shorter]
    cache: Any
    real: Tensor | None
    """bool `[row token]`, what is no padding; None if nothing is."""
    layer: int = 0
    """The layer that runs."""

    def after(self, place: int) -> Shorter | None:
        """The sequence after a pruning point."""
        return self.shorter.get(place)
