"""Proportional attention in the layers of a language model: each layer is weighed by the latest stage in front of it.

A stage is a pruning point: in front of the language model, or after some of its layers. From there on the sequence is
shorter, and its tokens have the sizes that the stage gave them, made of those that an earlier stage had given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

from torch import Tensor, nn

from tokprune.adapters.calls import PerOwner
from tokprune.adapters.masktap import weighing_tap
from tokprune.adapters.sizes import Sizes
from tokprune.adapters.tap import Seen


class Stage:
    """What the layers of a reader go by in one call of it, from one pruning point to the next.

    It keeps no attachment alive: one that an interrupted call left goes with its model.

    Args:
        owner: the attachment that pruned.
        first: the first layer that reads the shorter sequence, counted from 0.
        sizes: those of the columns of that sequence; None if each token stands for itself.
        total: how long the sequence is by now, where a cache may have dropped its oldest columns.
    """

    def __init__(self, owner: object, first: int, sizes: Sizes | None, total: int | None = None) -> None:
        self._owner, self.first, self.sizes, self.total = ref(owner), first, sizes, total

    @property
    def owner(self) -> object:
        """The attachment that pruned; None if that is gone."""
        return self._owner()


_STAGES: PerOwner[tuple[Stage, ...]] = PerOwner("tokprune_stages")


def enter_stage(reader: nn.Module, stage: Stage) -> None:
    """Let the layers of `reader` go by `stage`, in the place of an earlier one of the same attachment."""
    others = tuple(each for each in _STAGES.get(reader) or () if each.owner is not stage.owner)
    _STAGES.set(reader, (*others, stage))


def leave_stage(reader: nn.Module, owner: object) -> None:
    """The call of `reader` is over for the attachment `owner`."""
    _STAGES.set(reader, tuple(each for each in _STAGES.get(reader) or () if each.owner is not owner))


def stage_of(reader: nn.Module, layer: int) -> Stage | None:
    """The latest stage in front of layer number `layer` of `reader`; None if there is none in this call.

    A stage after that layer gets the sizes of its columns here, and carries them on.
    """
    passed = [each for each in _STAGES.get(reader) or () if each.first <= layer]
    return max(passed, key=lambda each: each.first, default=None)


class Weighing:
    """Taps on the attention modules of a reader that weigh keys while the latest stage is one of `owner`.

    Args:
        owner: the attachment.
        reader: the language model, or the part of it whose call is one pass through its layers.
        attentions: the attention module of each layer, by the number of the layer.
    """

    def __init__(self, owner: object, reader: nn.Module, attentions: Sequence[tuple[int, nn.Module]]) -> None:
        self.owner, self.reader, self.attentions = owner, reader, attentions

    def install(self, undo: list[Any]) -> None:
        """Put the taps on, and append them to `undo`."""
        for layer, module in self.attentions:
            tap = weighing_tap(module, self.weigh, (layer,))
            undo.append(tap)
            tap.install()

    def weigh(self, layer: int, seen: Seen) -> Tensor | None:
        """What is added to the logits of each key `[row key]`."""
        stage = stage_of(self.reader, layer)
        if stage is None or stage.owner is not self.owner or stage.sizes is None:
            return None
        return stage.sizes.logs(seen, stage.total)
