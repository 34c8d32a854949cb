"""Models that put the features of their images in place of placeholders in the prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.decoder.cut import DecoderCut, inside_signals
from tokprune.adapters.decoder.family import Reader
from tokprune.adapters.embedmerge.towers import tower_attention, used_layers
from tokprune.adapters.firstlayer import READER_SIGNALS, FirstLayer
from tokprune.adapters.modules import part_of
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.prompt.placeholders import PlaceholderPruning
from tokprune.adapters.prompt.weighing import weighs
from tokprune.adapters.shape import known_shape
from tokprune.adapters.upstream import USED_LAYERS, USED_TOKENS, used_of_encoder
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

    arguments: ClassVar[tuple[str, ...]] = ("pixel_values",)
    """What `get_image_features` is given; the first carries the images."""
    tower: ClassVar[str] = "model.vision_tower"
    """Path of the image encoder."""
    language_model: ClassVar[str] = "model.language_model"
    """Path of the language model."""
    protected: ClassVar[int] = 0
    """How many of the encoder's tokens in front are no image tokens, where no argument says it."""
    padded: ClassVar[bool] = False
    """Whether the encoder is told which of its tokens are padding."""
    first_position: ClassVar[int] = 0
    """What a forward starts to count positions with."""

    def family(self, model: Any) -> PromptFamily:
        """Module paths and sizes of one model."""
        config, vision = model.config, model.config.vision_config
        fixed = used_of_encoder(config, self.arguments)
        layer = next((fixed[name] for name in USED_LAYERS if name in fixed), -1)
        protected = int(fixed[USED_TOKENS] == "default") if USED_TOKENS in fixed else self.protected
        layers = used_layers(layer, vision.num_hidden_layers)
        attention = tower_attention(model, self.tower, vision, layers, protected, self.padded)
        return PromptFamily(
            name=self.name,
            image_token_id=config.image_token_id,
            arguments=self.arguments,
            sources=attention,
            language_model=self.language_model,
            fixed=fixed,
            places=getattr(self, "places", None),
            first_position=self.first_position,
            grid=self.grid(model) if attention else None,
        )

    def grid(self, model: Any) -> tuple[int, int] | None:
        """Rows and columns of the image tokens, where all images have the same."""
        return None

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
