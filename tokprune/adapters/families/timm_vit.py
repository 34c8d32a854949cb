"""timm's VisionTransformer: image tokens leave between its blocks."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tokprune.adapters.attention import find_attention, projections_of
from tokprune.adapters.calls import during_call
from tokprune.adapters.output.encoder import ENCODER_SIGNALS, EncoderPruning, refuse_mask
from tokprune.adapters.output.family import EncoderFamily
from tokprune.adapters.output.weighing import why_plain
from tokprune.adapters.shape import Relied, has, takes
from tokprune.adapters.stages import leave_stage
from tokprune.adapters.wording import check_target
from tokprune.after import After
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Attachment, Cut, Observed


@dataclass(frozen=True)
class TimmVit:
    """timm's `VisionTransformer` (ViT, DeiT, CLIP's, SigLIP's, DINOv2's ...): image tokens leave between its blocks.

    Signals of target "image", all taken where the encoder is cut: `tokens` (the block's output), `encoder_attention`
    and `self_attention` (all tokens vote for image tokens, in the blocks since the last cut) and `grid`. [CLS],
    registers and the distillation token are protected: they always stay, and vote first, [CLS] in front.

    `forward_features` has only the tokens that stayed, and pooling is over those. Refused: reduction "mask" and
    selectors that keep different numbers; and calls with an attention mask, with gradient checkpointing, with patch
    dropout while training, and `forward_intermediates` that lays the tokens out as a picture again (so feature
    extraction with `features_only`; as sequences, `output_fmt="NLC"`, they come, shorter behind the cut). Only blocks
    with timm's usual `Attention` are known.
    """

    name: ClassVar[str] = "timm-vit"

    def matches(self, model: nn.Module) -> bool:
        """Whether `model` is a `VisionTransformer` of timm whose blocks all have the usual attention."""
        # A model of a library that was never imported cannot exist, so there is no need to import it here.
        timm = sys.modules.get("timm.models.vision_transformer")
        if timm is None or not isinstance(model, timm.VisionTransformer):
            return False
        return all(type(getattr(block, "attn", None)) is timm.Attention for block in model.blocks)

    def offers(self, model: nn.Module) -> Mapping[str, tuple[str, ...]]:
        """Its one target and the signals."""
        unnormed = projections_of(model.get_submodule("blocks.0.attn")) == {"qkv": "query key value"}
        return {"image": tuple(name for name in ENCODER_SIGNALS if unnormed or name != "encoder_values")}

    def offers_after(
        self, model: nn.Module, target: str, after: After | None, inside: str | None = None
    ) -> tuple[str, ...]:
        """The signals; tokens leave inside the encoder anyway."""
        return tuple(self.offers(model)[target])

    def weighs(
        self, model: nn.Module, target: str, after: After | None = None, inside: str | None = None
    ) -> bool | str:
        """Whether attention can be proportional where tokens leave, or why not."""
        family = _family(model, self.name)
        return why_plain(model, family, family.places(after)) or True

    def attach(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Cut the image tokens between the blocks."""
        check_target(self.name, cut, ["image"])
        return TimmPruning(model, _family(model, self.name), cut, done, owner)


def _family(model: Any, name: str) -> EncoderFamily:
    return TimmFamily(
        name=name,
        encoder="",
        layers=[f"blocks.{index}" for index in range(len(model.blocks))],
        attention=find_attention(model, "blocks"),
        protected=model.num_prefix_tokens,
        patch_size=0,
        reader="norm",
        crossed=[] if model.attn_pool is None else ["attn_pool"],
    )


class TimmFamily(EncoderFamily):
    """A `VisionTransformer`, which knows itself how many tokens an image has."""

    def grid(self, encoder: nn.Module, images: Tensor) -> tuple[int, int]:
        """Rows and columns of the image tokens of `images` `[image channel row column]`."""
        timm: Any = encoder
        rows, columns = timm.patch_embed.dynamic_feat_size(images.shape[2:])
        return rows, columns


class TimmPruning(EncoderPruning):
    """A cut between the blocks of a `VisionTransformer`, which is as often called by its methods as as a whole."""

    methods = ("forward_features", "forward_intermediates")

    def _relies(self) -> list[Relied]:
        return [
            takes(self.encoder, "forward_features"),
            takes(self.encoder, "forward_intermediates", "output_fmt"),
            has(self.encoder, "grad_checkpointing", "patch_drop"),
        ]

    def _install_entry(self, undo: list[Any]) -> None:
        for name, around in (("forward_features", self._around), ("forward_intermediates", self._around_intermediates)):
            self._shim(self.encoder, name, around)

    def _around(self, original: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
        encoder: Any = self.encoder
        self.capture.verify()
        asked = _asked(original, x, *args, **kwargs)
        for name in ("attn_mask", "is_causal"):
            if asked.get(name) is not None and asked[name] is not False:
                refuse_mask(name)
        if encoder.grad_checkpointing and torch.is_grad_enabled():
            raise UnsupportedCallError(
                "gradient checkpointing in timm runs each block's hooks again in backward, where the tokens that were "
                "chosen are no longer known; call model.set_grad_checkpointing(False)"
            )
        if encoder.training and not isinstance(encoder.patch_drop, nn.Identity):
            raise UnsupportedCallError(
                "patch dropout takes tokens away at random before any are chosen, so the report could not say which "
                "stayed; call model.eval(), or set model.patch_drop = torch.nn.Identity()"
            )
        with during_call(self, self._encoding(x)):
            try:
                return original(x, *args, **kwargs)
            finally:
                leave_stage(self.encoder, self)

    def _around_intermediates(self, original: Callable[..., Any], x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if _asked(original, x, *args, **kwargs)["output_fmt"] != "NLC":
            raise UnsupportedCallError(
                "forward_intermediates lays the tokens out as a picture (output_fmt='NCHW'), and behind the cut some "
                "are missing from it; ask for output_fmt='NLC', or call handle.remove() first"
            )
        return self._around(original, x, *args, **kwargs)


def _asked(method: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments of a call by name, those that were not given included."""
    bound = inspect.signature(method).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments
