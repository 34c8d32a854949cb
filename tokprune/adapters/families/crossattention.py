"""Models whose decoder cross-attends to an encoder: what their adapters have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.crossing.cut import CrossCut
from tokprune.adapters.crossing.family import CrossFamily
from tokprune.adapters.modules import part_of
from tokprune.adapters.output.crossed import CrossedPruning, encoder_family
from tokprune.adapters.output.weighing import why_plain
from tokprune.adapters.shape import known_shape
from tokprune.adapters.wording import at_target, check_target
from tokprune.after import After, layers_before
from tokprune.errors import AdapterError
from tokprune.interfaces import Attachment, Cut, Observed


class CrossAttentionAdapter:
    """Tokens leave at the encoder's output, after cross-attention layers of the decoder, or inside the encoder."""

    name: ClassVar[str]
    models: ClassVar[Mapping[str, tuple[str, ...]]]
    """Module of transformers -> the classes in it that the adapter is for."""
    target: ClassVar[str] = "image"

    def matches(self, model: nn.Module) -> bool:
        """Whether `model` is of one of the classes that the adapter is for."""
        for path, classes in self.models.items():
            # A model of a library that was never imported cannot exist, so there is no need to import it here.
            module = sys.modules.get(path)
            if module is not None and isinstance(model, tuple(getattr(module, name, ()) for name in classes)):
                return True
        return False

    def why_not(self, model: nn.Module) -> str:
        """Says of a part of the model that it is one."""
        return next(filter(None, (part_of(model, path, classes) for path, classes in self.models.items())), "")

    def family(self, model: nn.Module) -> CrossFamily:
        """Where the parts of `model` are."""
        raise NotImplementedError

    def offers(self, model: nn.Module) -> Mapping[str, tuple[str, ...]]:
        """The one target and its signals."""
        with known_shape(model, f"adapter {self.name!r}"):
            return {self.target: self.family(model).signals}

    def offers_after(
        self, model: nn.Module, target: str, after: After | None, inside: str | None = None
    ) -> tuple[str, ...]:
        """The signals: all of them, but for those of the decoder where tokens leave inside the encoder."""
        offered = self.offers(model)[target]
        if inside is None:
            return offered
        encoder_family(self.family(model), inside=True)
        return tuple(name for name in offered if name != "cross_attention")

    def weighs(
        self, model: nn.Module, target: str, after: After | None = None, inside: str | None = None
    ) -> bool | str:
        """Whether attention can be proportional where tokens leave, or why not."""
        family = self.family(model)
        if inside is None and (after is not None or family.masked):
            return True
        encoder = encoder_family(family, inside is not None)
        return why_plain(model, encoder, encoder.places(after)) or True

    def attach(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Prune the encoder's output, after so many cross-attention layers of the decoder, or inside the encoder."""
        check_target(self.name, cut, [self.target])
        with known_shape(model, f"adapter {self.name!r}"):
            family = self.family(model)
        if cut.inside == "encoder":
            return CrossedPruning(model, family, cut, done, owner)
        place = layers_in_front(family, cut)
        if place == 0 and not family.masked and cut.keep is not None and cut.reduction.removes:
            return CrossedPruning(model, family, cut, done, owner)
        return CrossCut(model, family, cut, done, owner, place)


def layers_in_front(family: CrossFamily, cut: Cut) -> int:
    """How many cross-attention layers read all tokens; 0 for a cut at the encoder's output.

    Raises:
        AdapterError: there are not so many, or nothing would be left behind the cut, or `after` names several places.
    """
    where, depth = at_target(family.name, cut), len(family.crossings)
    if cut.after is None:
        return 1 if "cross_attention" in cut.needs else 0
    places = layers_before(cut.after, depth) if not isinstance(cut.after, int) else (cut.after,)
    if len(places) > 1:
        raise AdapterError(f"{where} is cut once, and after={cut.after!r} names several places; give one number")
    if places[0] >= depth:
        raise AdapterError(
            f"{where}: after={cut.after!r} leaves nothing to shorten, for the decoder has {depth} cross-attention "
            f"layers; give a number from 1 to {depth - 1}, or omit it to cut at the encoder's output"
        )
    return places[0]
