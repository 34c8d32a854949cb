"""An adapter for a model that has none, made of paths."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from tokprune.adapters.encoder import EncoderFamily
from tokprune.adapters.layercut import ENCODER_SIGNALS, LayerCut
from tokprune.adapters.modules import module_at
from tokprune.adapters.paths import STAR, joined, missing, modules_like
from tokprune.adapters.sources import AttentionSource
from tokprune.after import layers_before
from tokprune.errors import AdapterError, InvalidValueError
from tokprune.interfaces import Attachment, Cut, Observed

SEAMS = ("layers",)
"""Where a `GenericAdapter` can cut."""


@dataclass(frozen=True)
class GenericAdapter:
    """Any model whose tokens can leave at one of the seams, described by paths of its modules.

    It believes what it is told: prove it on your model with `handle.check(inputs)`, and with
    `tokprune.testing.check_adapter`, which compares the attention with what the model really computes.
    `tokprune.inspect_attention(model)` lists what there is and writes the call.

    Args:
        encoder: path of the module whose call is one encoding; "" for the model itself.
        q: path from the encoder to the projections of the queries, with a star for the number of the layer:
            "layers.*.self_attn.q_proj". What it gives must be what attends: nothing rotated or normed behind it.
        k: the same for the keys.
        qkv: path of fused projections, in place of `q` and `k`.
        heads: number of attention heads.
        layers: path of the layers, if neither `q` nor `qkv` is given: then there is no attention to vote by.
        seam: "layers": tokens leave between two layers of the encoder.
        target: what the tokens are called: "image", "audio".
        protected: tokens in front ([CLS], registers) that always stay.
        scale: factor on the dot products; None for one over the root of a head's width.
        reader: path of the module that reads the encoder's output; None for the encoder's last layer, which is enough
            unless tokens leave behind that.
        patch_size: pixels per image token along a side; None if the tokens form no grid.

    Signals of its target: `tokens` (the layer's output), `encoder_attention` and `self_attention` (all tokens of the
    encoder vote, protected ones first) if projections are given, `grid` if `patch_size` is.

    Refused: paths at which there is nothing, and projections that cannot be what attends, with the nearest path that
    there is; reductions and selectors that need a mask. The encoder's layers must take any number of tokens, and no
    mask.

    Example:
        >>> import tokprune
        >>> from tokprune.zoo import load_model
        >>> model, processor = load_model("blip2-shapes")
        >>> adapter = GenericAdapter(
        ...     encoder="vision_model.encoder", qkv="layers.*.self_attn.qkv", heads=4, protected=1, reader="qformer"
        ... )
        >>> with tokprune.apply(model, scorer="received-attention", keep=0.25, adapter=adapter) as handle:
        ...     handle.target
        'image'
    """

    encoder: str
    q: str = ""
    k: str = ""
    qkv: str = ""
    heads: int = 0
    layers: str = ""
    seam: str = "layers"
    target: str = "image"
    protected: int = 0
    scale: float | None = None
    reader: str | None = None
    patch_size: int | None = None

    def __post_init__(self) -> None:
        if self.seam not in SEAMS:
            raise InvalidValueError(f"GenericAdapter: seam must be one of {', '.join(SEAMS)}, got {self.seam!r}")
        if bool(self.q) != bool(self.k) or bool(self.q) == bool(self.qkv or self.layers):
            raise InvalidValueError(
                "GenericAdapter: give q and k, or qkv, or only layers (then nothing votes); got "
                f"q={self.q!r}, k={self.k!r}, qkv={self.qkv!r}, layers={self.layers!r}"
            )
        if not self.layers and self.heads < 1:
            raise InvalidValueError(f"GenericAdapter: heads must be a positive number, got {self.heads!r}")

    def matches(self, model: nn.Module) -> bool:
        """Whether all paths lead somewhere in `model`."""
        return not self.why_not(model)

    def why_not(self, model: nn.Module) -> str:
        """Why it does not fit `model`, or nothing."""
        try:
            self.family(model)
        except AdapterError as error:
            return str(error)
        return ""

    def offers(self, model: nn.Module) -> Mapping[str, tuple[str, ...]]:
        """Its target and the signals."""
        left_out = {"grid"} if self.patch_size is None else set()
        left_out |= {"encoder_attention", "self_attention"} if self.layers else set()
        return {self.target: tuple(name for name in ENCODER_SIGNALS if name not in left_out)}

    def attach(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Cut the tokens at the seam."""
        if cut.target != self.target:
            raise AdapterError(f"GenericAdapter has no target {cut.target!r}; its target: {self.target!r}")
        family = self.family(model)
        places = layers_before(family.after if cut.after is None else cut.after, len(family.layers))
        if self.reader is None and places[-1] == len(family.layers):
            raise AdapterError(
                f"GenericAdapter: behind the last of {places[-1]} layers only whoever reads the encoder's output can "
                "tell that it is shorter; give reader=..., the path of that module, or cut earlier"
            )
        return LayerCut(model, family, cut, done, owner)

    def family(self, model: nn.Module) -> EncoderFamily:
        """The paths, resolved on one model.

        Raises:
            AdapterError: there is nothing at a path, or something that cannot be used.
        """
        for path in (self.encoder, self.reader):
            if path and not _exists(model, path):
                raise AdapterError(f"GenericAdapter: {missing(model, path)}")
        layers = self._layers(model)
        return EncoderFamily(
            name="GenericAdapter",
            encoder=self.encoder,
            layers=layers,
            attention=self._attention(model, len(layers)),
            protected=self.protected,
            patch_size=self.patch_size or 1,
            reader=self.reader or layers[-1],
        )

    def _layers(self, model: nn.Module) -> list[str]:
        inside = self.layers or f"{(self.qkv or self.q).partition(STAR)[0]}{STAR}"
        return list(modules_like(model, joined(self.encoder, inside)).values())

    def _attention(self, model: nn.Module, depth: int) -> list[AttentionSource]:
        parts = {"query key value": self.qkv} if self.qkv else {"query": self.q, "key": self.k}
        if self.layers:
            return []
        found = {part: modules_like(model, joined(self.encoder, path)) for part, path in parts.items()}
        for part, paths in found.items():
            if len(paths) != depth:
                raise AdapterError(
                    f"GenericAdapter: the encoder has {depth} layers, and {len(paths)} of them have a projection of "
                    f"the {part.split()[0]} at {parts[part]!r}"
                )
        widths = {_width(module_at(model, path), part) for part, paths in found.items() for path in paths.values()}
        if len(widths) > 1:
            raise AdapterError(f"GenericAdapter: queries and keys must be equally wide in all layers, got {widths}")
        width = widths.pop()
        if width is not None and width % self.heads:
            raise AdapterError(f"GenericAdapter: queries of width {width} cannot have {self.heads} heads")
        if width is None and self.scale is None:
            raise AdapterError("GenericAdapter: how wide a head is cannot be seen at these projections; give scale=...")
        scale = (width // self.heads) ** -0.5 if self.scale is None and width is not None else self.scale or 1.0
        sides = list(found)
        for path in found[sides[0]].values():
            _refuse_rotation(model, path)
        return [
            AttentionSource(
                "encoder_attention",
                index,
                tuple((path, side) for path, side in zip(paths, sides, strict=True)),
                self.heads,
                scale,
                candidates="key",
            )
            for index, paths in enumerate(zip(*(found[side].values() for side in sides), strict=True))
        ]


def _exists(model: nn.Module, path: str) -> bool:
    try:
        model.get_submodule(path)
    except AttributeError:
        return False
    return True


def _width(projection: nn.Module, parts: str) -> int | None:
    width = getattr(projection, "out_features", None)
    return width // len(parts.split()) if isinstance(width, int) else None


def _refuse_rotation(model: nn.Module, path: str) -> None:
    attention = module_at(model, path.rpartition(".")[0])
    if "position_embeddings" in inspect.signature(attention.forward).parameters:
        raise AdapterError(
            f"GenericAdapter: {type(attention).__name__} rotates queries and keys behind {path!r}, so what a hook sees "
            "there is not what attends; give only layers=..., and score by tokens, or write an adapter of your own"
        )
