"""Models built like BLIP-2: an image encoder, a Q-Former whose query tokens read it, and a reader of those."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.decoder.cut import DecoderCut, inside_signals
from tokprune.adapters.decoder.family import Reader
from tokprune.adapters.firstlayer import READER_SIGNALS, FirstLayer
from tokprune.adapters.modules import part_of
from tokprune.adapters.output.encoder import ENCODER_SIGNALS, EncoderPruning
from tokprune.adapters.output.family import EncoderFamily
from tokprune.adapters.output.weighing import why_plain
from tokprune.adapters.prompt.delegated import DelegatedPruning
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.prompt.weighing import weighs
from tokprune.adapters.shape import known_shape
from tokprune.adapters.sources import AttentionSource
from tokprune.adapters.wording import check_target
from tokprune.after import After
from tokprune.errors import AdapterError
from tokprune.interfaces import Attachment, Cut, Observed
from tokprune.signal import SignalName

QUERY_SIGNALS = (
    "tokens",
    SignalName("cross_attention", voters="image"),
    "self_attention",
    SignalName("encoder_attention", voters="image"),
    "text",
)
"""What is observed of the query tokens on their way to the language model."""


class QFormerAdapter:
    """Query tokens leave in front of the language model, image tokens inside the image encoder."""

    name: ClassVar[str]
    module: ClassVar[str]
    """The module of transformers that defines the models."""
    models: ClassVar[tuple[str, ...]]
    """The models' classes, those that the module of the installed release has."""
    signals: ClassVar[tuple[str, ...]] = QUERY_SIGNALS
    """What is observed of the query tokens."""
    default_scorers: ClassVar[Mapping[str, str]] = {"query": "focus", "image": "received-attention"}
    """Of the scorers that read the model, those that measured best on the bundled BLIP-2."""
    asks: ClassVar[bool] = False
    """Whether the Q-Former reads the question too, beside its query tokens."""

    def matches(self, model: nn.Module) -> bool:
        """Whether `model` is of a class that the adapter is for."""
        # A model of a library that was never imported cannot exist, so there is no need to import it here.
        module = sys.modules.get(self.module)
        return any(isinstance(model, getattr(module, name, ())) for name in self.models)

    def why_not(self, model: nn.Module) -> str:
        """Says of a part of the model that it is one."""
        return part_of(model, self.module, self.models)

    def offers(self, model: nn.Module) -> Mapping[str, tuple[str, ...]]:
        """Targets and their signals."""
        ahead: tuple[str, ...] = ()
        if hasattr(model, "language_model"):
            with known_shape(model, f"adapter {self.name!r}"):
                family = query_family(model, self.name, self.asks)
            ahead = READER_SIGNALS if FirstLayer.of(model, family) is not None else ()
        return {"query": (*self.signals, *ahead), "image": ENCODER_SIGNALS}

    def offers_after(
        self, model: nn.Module, target: str, after: After | None, inside: str | None = None
    ) -> tuple[str, ...]:
        """The signals of query tokens inside the language model, and of image tokens inside the encoder."""
        if inside is not None and target != "image":
            raise AdapterError(
                f"adapter {self.name!r} target {target!r} has no pruning point inside the {inside} of a "
                f"{type(model).__name__}, where there are image tokens alone; omit inside={inside!r}, or choose target "
                "'image'"
            )
        if target != "query" or not hasattr(model, "language_model"):
            return tuple(self.offers(model)[target])
        with known_shape(model, f"adapter {self.name!r}"):
            family = query_family(model, self.name, self.asks)
            known = Reader.known(model, family)
        return inside_signals(model, family) if known else tuple(self.offers(model)[target])

    def weighs(
        self, model: nn.Module, target: str, after: After | None = None, inside: str | None = None
    ) -> bool | str:
        """Whether attention can be proportional where tokens leave, or why not."""
        if target == "image":
            encoder = encoder_family(model, self.name)
            return why_plain(model, encoder, encoder.places(after)) or True
        return self.weighs_query(model)

    def weighs_query(self, model: nn.Module) -> bool | str:
        """The same for query tokens."""
        return weighs(model, query_family(model, self.name, self.asks))

    def attach(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Cut the query tokens where their reader takes over, the image tokens between the encoder's layers."""
        check_target(self.name, cut, ["query", "image"])
        if cut.target == "image":
            with known_shape(model, f"adapter {self.name!r}"):
                encoder = encoder_family(model, self.name)
            return EncoderPruning(model, encoder, cut, done, owner)
        return self.attach_query(model, cut, done, owner)

    def attach_query(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Cut the query tokens where the language model takes over."""
        with known_shape(model, f"adapter {self.name!r}"):
            family = query_family(model, self.name, self.asks)
        if cut.after is not None:
            return DecoderCut(model, family, cut, done, owner)
        return DelegatedPruning(model, family, cut, done, owner)


def query_family(model: nn.Module, name: str, asks: bool) -> PromptFamily:
    """Module paths and sizes of one model; `asks` if its Q-Former reads the question too."""
    config: Any = model.config
    video = getattr(config, "video_token_id", None)
    return PromptFamily(
        name=name,
        sources=query_sources(model, asks),
        base="",
        vectors="language_projection",
        language_model="language_model",
        tokens_per_image=config.num_query_tokens,
        arguments=("pixel_values",),
        image_token_id=config.image_token_id if video is None else video,
    )


def query_sources(model: nn.Module, asks: bool) -> Mapping[str, Sequence[AttentionSource]]:
    """Signal -> the attention layers that vote for query tokens; `asks` if others stand behind those."""
    config: Any = model.config
    leading = config.num_query_tokens if asks else None
    return {
        "cross_attention": find_attention(model, "qformer", "cross_attention", "query", crossing=True),
        "self_attention": find_attention(model, "qformer", "self_attention", crossing=False, leading=leading),
        "encoder_attention": find_attention(model, "vision_model"),
    }


def encoder_family(model: nn.Module, name: str) -> EncoderFamily:
    """Module paths and sizes of the image encoder of one model."""
    config: Any = model.config
    vision = config.vision_config
    return EncoderFamily(
        name=name,
        encoder="vision_model",
        layers=[f"vision_model.encoder.layers.{index}" for index in range(vision.num_hidden_layers)],
        attention=find_attention(model, "vision_model"),
        protected=1,
        patch_size=vision.patch_size,
        reader="qformer",
        crossed=[str(source.attention) for source in find_attention(model, "qformer", crossing=True)],
    )
