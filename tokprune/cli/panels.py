"""The panels of an answer's picture: for each level, what was kept of each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tokprune.cli.picture import Panel, stayed, voter_weights, watched

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tokprune import Policy
    from tokprune.signal import Signal


@dataclass(frozen=True, eq=False)
class Level:
    """One answer, and what it was given with."""

    label: str
    keep: float | int | None
    policies: Mapping[str, Policy]
    """By target; empty for the unpruned model."""
    kept: Mapping[str, Tensor]
    """Target -> bool `[token]`."""
    text: str


class Panels:
    """Draws up the panels of one image.

    Image tokens that left are dark. Tokens without a grid, such as query tokens, are shown by what the kept ones look
    at, as the model saw it: where image tokens were pruned too, only at those that stayed.

    Args:
        model: The model, not pruned.
        inputs: What its forward takes, one image.
    """

    def __init__(self, model: nn.Module, inputs: Mapping[str, Any]) -> None:
        from tokprune.fit import bound_to

        self._model, self._inputs = model, inputs
        self._offers = bound_to(model).offers

    def of(self, question: str, levels: Sequence[Level]) -> list[Panel]:
        """The image, the voters' weight where there are voters, and one panel for each target of each level."""
        panels: list[Panel] = [(f"{question}\nunpruned: {levels[0].text}", None)]
        if any(target in self._looking for level in levels for target in level.kept):
            panels += self._voters()
        for level in levels[1:]:
            panels += [(_title(level, target), self._map(level, target)) for target in level.kept]
        return panels

    def _voters(self) -> list[Panel]:
        if "encoder_attention" not in self._unpruned.offered:
            return []
        return [("voters' weight\n(attention received)", voter_weights(self._unpruned))]

    def _map(self, level: Level, target: str) -> Tensor | None:
        kept = level.kept[target]
        if "grid" in self._offers[target]:
            return stayed(kept, self._observe(target, "grid").grid)
        if target not in self._looking:
            return None
        others = {name: policy for name, policy in level.policies.items() if name != target}
        if not others:
            return watched(self._unpruned.cross_attention, kept)
        from tokprune import apply

        with apply(self._model, list(others.values())):
            signal = self._observe(target, "cross_attention")
        voters = next((level.kept[name] for name in others if "grid" in self._offers[name]), None)
        return watched(signal.cross_attention, kept, voters)

    @property
    def _looking(self) -> list[str]:
        """Targets whose tokens are not places on the image, but look at it."""
        return [name for name, found in self._offers.items() if "grid" not in found and any(map(_looks, found))]

    @cached_property
    def _unpruned(self) -> Signal:
        """What the tokens of the first such target look at, and how much attention its voters receive."""
        target = self._looking[0]
        names = ("cross_attention", "encoder_attention")
        return self._observe(target, *(name for name in names if name in self._offers[target]))

    def _observe(self, target: str, *needs: str) -> Signal:
        from tokprune import observe

        return observe(self._model, self._inputs, needs=needs, target=target)


def _looks(signal: str) -> bool:
    """Whether a signal says what the target tokens look at; where text votes, it is the text that looks."""
    return signal == "cross_attention" and getattr(signal, "voters", None) != "text"


def _title(level: Level, target: str) -> str:
    from tokprune.bench.table import keep_text

    if level.keep is not None:
        return f"{level.label}, keep {keep_text(level.keep)}\n{level.text}"
    policy = level.policies[target]  # the label of several is long, and begins with the first of them
    return f"{target}: {policy.to_dict()['scorer']}, keep {keep_text(policy.keep)}\n{level.text}"
