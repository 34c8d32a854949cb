"""Models that put the features of their images in place of placeholders in the prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.decoder.cut import DecoderCut, inside_signals
from tokprune.adapters.decoder.family import Reader
from tokprune.adapters.firstlayer import READER_SIGNALS, FirstLayer
from tokprune.adapters.modules import part_of
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.prompt.placeholders import PlaceholderPruning
from tokprune.adapters.prompt.weighing import weighs
from tokprune.adapters.shape import known_shape
from tokprune.adapters.wording import check_target
from tokprune.after import After
from tokprune.interfaces import Attachment, Cut, Observed
from tokprune.signal import ENCODER_VECTORS, SignalName


class EmbedMergeAdapter:
    """Image tokens leave in front of the language model; or inside, where a policy asks for it and it is known how."""

    name: ClassVar[str]
    module: ClassVar[str]
    """The module of transformers that defines the model."""
    model: ClassVar[str]
    """The model's class."""
    placeholders: ClassVar[bool] = True
    """The prompt has a placeholder for each token that the image encoder gives, so that alone must not be pruned."""

    def matches(self, model: nn.Module) -> bool:
        """Whether `model` is of the class that the adapter is for."""
        # A model of a library that was never imported cannot exist, so there is no need to import it here.
        module = sys.modules.get(self.module)
        return module is not None and isinstance(model, getattr(module, self.model, ()))

    def why_not(self, model: nn.Module) -> str:
        """Says of a part of the model that it is one."""
        return part_of(model, self.module, (self.model,))

    def family(self, model: Any) -> PromptFamily:
        """Module paths and sizes of one model."""
        raise NotImplementedError

    def offers(self, model: nn.Module) -> Mapping[str, tuple[str, ...]]:
        """Targets and their signals."""
        with known_shape(model, f"adapter {self.name!r}"):
            family = self.family(model)
        grid = () if family.grid is None and family.grids is None else ("grid",)
        found = [
            SignalName(name, voters="image", pooled=name == "encoder_attention" and family.places is not None)
            for name in family.sources
        ]
        encoder = ENCODER_VECTORS if "encoder_attention" in family.sources else ()
        if "cross_attention" not in family.sources and Reader.known(model, family):
            found.insert(0, SignalName("cross_attention", voters="text", apart=(*found, *grid, *encoder)))
        ahead = READER_SIGNALS if FirstLayer.of(model, family) is not None else ()
        return {"image": ("tokens", *found, "text", *grid, *encoder, *ahead)}

    def offers_after(self, model: nn.Module, target: str, after: After) -> tuple[str, ...]:
        """The signals inside the language model, where tokens can leave there."""
        with known_shape(model, f"adapter {self.name!r}"):
            family = self.family(model)
            known = Reader.known(model, family)
        return inside_signals(model, family) if known else self.offers(model)[target]

    def weighs(
        self, model: nn.Module, target: str, after: After | None = None, inside: str | None = None
    ) -> bool | str:
        """Whether attention can be proportional where tokens leave, or why not."""
        with known_shape(model, f"adapter {self.name!r}"):
            return weighs(model, self.family(model))

    def attach(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Cut the image tokens in front of the language model, or inside if `after` or the text's votes are wanted."""
        check_target(self.name, cut, ["image"])
        with known_shape(model, f"adapter {self.name!r}"):
            family = self.family(model)
        text_votes = "cross_attention" in cut.needs and "cross_attention" not in family.sources
        if cut.after is not None or text_votes:
            return DecoderCut(model, family, cut, done, owner)
        return PlaceholderPruning(model, family, cut, done, owner)
