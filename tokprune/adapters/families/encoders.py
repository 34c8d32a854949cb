"""Image encoders of transformers that stand alone or beside a text encoder: image tokens leave between their layers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.modules import module_at
from tokprune.adapters.output.encoder import ENCODER_SIGNALS, EncoderPruning
from tokprune.adapters.output.family import EncoderFamily
from tokprune.adapters.output.weighing import why_plain
from tokprune.adapters.shape import known_shape
from tokprune.adapters.wording import check_target
from tokprune.after import After
from tokprune.errors import AdapterError
from tokprune.interfaces import Attachment, Cut, Observed


@dataclass(frozen=True)
class Anatomy:
    """Where the parts of one kind of encoder are, as paths from the encoder.

    Args:
        layers: the list of layers.
        reader: what reads the shortened sequence, or gives it.
        protected: tokens in front of the image tokens, registers left out.
    """

    layers: str
    reader: str
    protected: int = 1


@dataclass(frozen=True)
class Seat:
    """Where a model has its encoder.

    Args:
        encoder: path of the encoder; "" if the model is it.
        sentinel: path of a module outside of it that is called along with it; "" for the model itself.
    """

    encoder: str = ""
    sentinel: str = ""


class EncoderAdapter:
    """Image tokens leave between the layers of an image encoder."""

    name: ClassVar[str]
    anatomies: ClassVar[Mapping[str, Anatomy]]
    """Module of transformers -> how the encoders it defines are built."""
    seats: ClassVar[Mapping[str, Seat]]
    """Class of models -> where its encoder is."""
    dense: ClassVar[tuple[str, ...]] = ()
    """Classes of models that lay the tokens out as a picture again, and so need them all."""

    def matches(self, model: nn.Module) -> bool:
        """Whether `model` is of a class that the adapter is for, or that it refuses with a reason."""
        return next(self._known(model), None) is not None

    def offers(self, model: nn.Module) -> Mapping[str, tuple[str, ...]]:
        """Its one target and the signals."""
        return {"image": ENCODER_SIGNALS}

    def offers_after(
        self, model: nn.Module, target: str, after: After | None, inside: str | None = None
    ) -> tuple[str, ...]:
        """The signals; tokens leave inside the encoder anyway."""
        return ENCODER_SIGNALS

    def weighs(
        self, model: nn.Module, target: str, after: After | None = None, inside: str | None = None
    ) -> bool | str:
        """Whether attention can be proportional where tokens leave, or why not."""
        family = self._family(model)
        return why_plain(model, family, family.places(after)) or True

    def attach(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Cut the image tokens between the encoder's layers."""
        check_target(self.name, cut, ["image"])
        with known_shape(model, f"adapter {self.name!r}"):
            family = self._family(model)
        return EncoderPruning(model, family, cut, done, owner)

    def _known(self, model: nn.Module) -> Iterator[tuple[str, str]]:
        """Modules and names of the classes that `model` belongs to."""
        for module in self.anatomies:
            # A model of a library that was never imported cannot exist, so there is no need to import it here.
            classes = sys.modules.get(module)
            for kind in (*self.seats, *self.dense):
                found = getattr(classes, kind, None)
                if found is not None and isinstance(model, found):
                    yield module, kind

    def _family(self, model: nn.Module) -> EncoderFamily:
        """Module paths and sizes of the image encoder of one model."""
        module, kind = next(self._known(model))
        if kind in self.dense:
            raise AdapterError(
                f"a {type(model).__name__} lays the image tokens out as a picture again, so it needs every one of "
                "them; prune a model that reads them as a sequence"
            )
        anatomy, seat = self.anatomies[module], self.seats[kind]
        encoder: Any = module_at(model, seat.encoder)
        config, prefix = encoder.config, f"{seat.encoder}." if seat.encoder else ""
        depth = sum(1 for _ in module_at(encoder, anatomy.layers).children())
        layers = [f"{prefix}{anatomy.layers}.{index}" for index in range(depth)]
        heads = [path for path, part in encoder.named_modules() if isinstance(part, nn.MultiheadAttention)]
        return EncoderFamily(
            name=self.name,
            encoder=seat.encoder,
            layers=layers,
            attention=find_attention(model, f"{prefix}{anatomy.layers}"),
            protected=anatomy.protected + getattr(config, "num_register_tokens", 0),
            patch_size=config.patch_size,
            reader=f"{prefix}{anatomy.reader}",
            sentinel=seat.sentinel,
            crossed=[f"{prefix}{path}" for path in heads],
        )


@dataclass(frozen=True)
class Clip(EncoderAdapter):
    """CLIP, alone or with its text encoder: image tokens leave inside the image encoder, a third of the way through.

    Signals of target "image", all taken where the encoder is cut: `tokens` (the layer's output), `encoder_attention`
    and `self_attention` (image tokens and [CLS] vote for image tokens, in the layers since the last cut) and `grid`.
    [CLS] is protected: it always stays, and it is the first voter of each head.

    `last_hidden_state` has only the tokens that stayed, and with `output_hidden_states` the layers behind the cut are
    shorter. The text encoder is left alone. Refused: reduction "mask" and selectors that keep different numbers (the
    encoder takes no mask), and calls with an attention mask for image tokens.
    """

    name: ClassVar[str] = "clip"
    anatomies: ClassVar[Mapping[str, Anatomy]] = {
        "transformers.models.clip.modeling_clip": Anatomy("encoder.layers", reader="encoder")
    }
    seats: ClassVar[Mapping[str, Seat]] = {
        "CLIPVisionModel": Seat(),
        "CLIPVisionModelWithProjection": Seat("vision_model", "visual_projection"),
        "CLIPModel": Seat("vision_model", "visual_projection"),
        "CLIPForImageClassification": Seat("vision_model", "classifier"),
    }


@dataclass(frozen=True)
class Siglip(EncoderAdapter):
    """SigLIP, alone or with its text encoder: image tokens leave inside the image encoder.

    Its pooling head reads those that stayed. Signals of target "image": `tokens`, `encoder_attention`,
    `self_attention` and `grid`, as for `Clip`. There is no [CLS], so nothing is protected and all image tokens vote.

    What comes out and what is refused is as for `Clip`. SigLIP 2 with images of any shape is another model.
    """

    name: ClassVar[str] = "siglip"
    anatomies: ClassVar[Mapping[str, Anatomy]] = {
        "transformers.models.siglip.modeling_siglip": Anatomy("encoder.layers", reader="post_layernorm", protected=0)
    }
    seats: ClassVar[Mapping[str, Seat]] = {
        "SiglipVisionModel": Seat(),
        "SiglipModel": Seat("vision_model"),
        "SiglipForImageClassification": Seat("vision_model", "classifier"),
    }


@dataclass(frozen=True)
class Dinov2(EncoderAdapter):
    """DINOv2, with registers or without: image tokens leave inside the encoder, a third of the way through.

    Signals of target "image": `tokens`, `encoder_attention`, `self_attention` and `grid`, as for `Clip`. [CLS] and
    the registers are protected: they always stay, and vote first, [CLS] in front.

    The classification head averages the image tokens that stayed. What comes out and what is refused is as for `Clip`;
    and the backbones, for their feature maps are pictures, which need every token.
    """

    name: ClassVar[str] = "dinov2"
    anatomies: ClassVar[Mapping[str, Anatomy]] = {
        f"transformers.models.{module}.modeling_{module}": Anatomy("encoder.layer", reader="layernorm")
        for module in ("dinov2", "dinov2_with_registers")
    }
    seats: ClassVar[Mapping[str, Seat]] = {
        "Dinov2Model": Seat(),
        "Dinov2ForImageClassification": Seat("dinov2", "classifier"),
        "Dinov2WithRegistersModel": Seat(),
        "Dinov2WithRegistersForImageClassification": Seat("dinov2_with_registers", "classifier"),
    }
    dense: ClassVar[tuple[str, ...]] = ("Dinov2Backbone", "Dinov2WithRegistersBackbone")


@dataclass(frozen=True)
class Vit(EncoderAdapter):
    """ViT and DeiT of transformers: image tokens leave inside the encoder, a third of the way through.

    Signals of target "image": `tokens`, `encoder_attention`, `self_attention` and `grid`, as for `Clip`. [CLS] and
    DeiT's distillation token are protected: they always stay, and vote first, [CLS] in front.

    What comes out and what is refused is as for `Clip`; and masked image modelling, which draws a picture again.
    """

    name: ClassVar[str] = "vit"
    anatomies: ClassVar[Mapping[str, Anatomy]] = {
        f"transformers.models.{module}.modeling_{module}": Anatomy("layers", reader="layernorm", protected=protected)
        for module, protected in (("vit", 1), ("deit", 2))
    }
    seats: ClassVar[Mapping[str, Seat]] = {
        "ViTModel": Seat(),
        "ViTForImageClassification": Seat("vit", "classifier"),
        "DeiTModel": Seat(),
        "DeiTForImageClassification": Seat("deit", "classifier"),
        "DeiTForImageClassificationWithTeacher": Seat("deit", "cls_classifier"),
    }
    dense: ClassVar[tuple[str, ...]] = ("ViTForMaskedImageModeling", "DeiTForMaskedImageModeling")
