"""An adapter for a model that has none, made of paths."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from tokprune.adapters.crossing.family import CrossFamily
from tokprune.adapters.modules import missing, module_at
from tokprune.adapters.output.crossed import CrossedPruning
from tokprune.adapters.output.encoder import EncoderPruning
from tokprune.adapters.output.family import EncoderFamily
from tokprune.adapters.projections import Projections
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.prompt.placeholders import PlaceholderPruning
from tokprune.adapters.refusals import refuse_after, refuse_what_needs_a_mask
from tokprune.adapters.upstream import places_by_row_and_column
from tokprune.errors import AdapterError, InvalidValueError
from tokprune.interfaces import Attachment, Cut, Observed

_READERS = {"layers": "", "encoder_output": "", "embed_merge": "model.language_model"}
"""Seam -> the usual path of the module that reads what is left."""


@dataclass(frozen=True, repr=False)
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
        layers: path of the layers, in place of any projections: then there is no attention to vote by.
        heads: number of attention heads.
        seam: where tokens leave: "layers" (between two layers of the encoder), "encoder_output" (in front of a decoder
            that cross-attends to what the encoder gives, and takes its masks from its shape), or "embed_merge" (in
            front of a model that puts what `get_image_features` gives in place of placeholders in the prompt).
        target: what the tokens are called: "image", "audio".
        protected: tokens in front of the encoder's others ([CLS], registers) that always stay, or never come out.
        scale: factor on the dot products; None for one over the root of a head's width.
        reader: path of the module that reads the shorter sequence. None: for "layers" the encoder's last layer, which
            is enough unless tokens leave behind that; for "embed_merge" "model.language_model"; "encoder_output" needs
            it: the decoder.
        patch_size: not for "embed_merge": pixels per image token along a side; None if the tokens form no grid.
        base: for "embed_merge": path of the module that has `get_image_features` and merges what it gives.
        image_token_id: for "embed_merge": id of the placeholders; None takes the configuration's.

    Signals of its target: `tokens`; `encoder_attention`, if projections are given (all tokens of the encoder vote,
    protected ones first); for "embed_merge" `text`; for the other seams the same as `self_attention`, and `grid` with
    `patch_size`.

    Refused: paths at which there is nothing (the error names the nearest), projections that cannot be what attends,
    and, except for "embed_merge", reductions and selectors that need a mask. A layer of the encoder must take any
    number of tokens, without a mask; for "embed_merge" every token of the encoder must be one of the prompt, in its
    order.

    Example:
        >>> import tokprune
        >>> from tokprune.zoo import load_model
        >>> model, processor = load_model("blip2-shapes")
        >>> adapter = GenericAdapter(
        ...     encoder="vision_model", qkv="encoder.layers.*.self_attn.qkv", heads=4, protected=1, reader="qformer"
        ... )
        >>> with tokprune.apply(model, scorer="received-attention", keep=0.25, adapter=adapter) as handle:
        ...     handle.target
        'image'
    """

    encoder: str
    q: str = ""
    k: str = ""
    qkv: str = ""
    layers: str = ""
    heads: int = 0
    seam: str = "layers"
    target: str = "image"
    protected: int = 0
    scale: float | None = None
    reader: str | None = None
    patch_size: int | None = None
    base: str = "model"
    image_token_id: int | None = None

    def __post_init__(self) -> None:
        if self.seam not in _READERS:
            seams = ", ".join(repr(seam) for seam in _READERS)
            raise InvalidValueError(f"GenericAdapter: seam must be one of {seams}, got {self.seam!r}")
        if self.seam == "encoder_output" and not self.reader:
            raise InvalidValueError("GenericAdapter: seam 'encoder_output' needs reader=..., the path of the decoder")
        self._projections.check()

    def __repr__(self) -> str:
        given = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default)
        return f"GenericAdapter({', '.join(given)})"

    @property
    def _projections(self) -> Projections:
        return Projections(self.encoder, self.q, self.k, self.qkv, self.layers, self.heads, self.scale)

    def matches(self, model: nn.Module) -> bool:
        """Whether all paths lead to something in `model` that can be used."""
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
        names = ["tokens"] if self.layers else ["tokens", "encoder_attention"]
        if self.seam == "embed_merge":
            names.append("text")
        else:
            names += [] if self.layers else ["self_attention"]
            names += [] if self.patch_size is None else ["grid"]
        return {self.target: tuple(names)}

    def weighs(self, model: nn.Module, target: str, after: Any = None, inside: Any = None) -> bool | str:
        """Why attention cannot be proportional."""
        return "paths alone do not say which attention reads merged tokens; write an adapter of your own"

    def attach(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Cut the tokens at the seam."""
        if cut.target != self.target:
            raise AdapterError(f"GenericAdapter has no target {cut.target!r}; its target: {self.target!r}")
        family = self.family(model)
        if isinstance(family, PromptFamily):
            return PlaceholderPruning(model, family, cut, done, owner)
        if isinstance(family, CrossFamily):
            refuse_after("GenericAdapter", "behind the encoder here", cut, ", or use seam='layers'")
            refuse_what_needs_a_mask("GenericAdapter", cut, "the decoder")
            return CrossedPruning(model, family, cut, done, owner)
        depth = len(family.layers)
        if self.reader is None and depth in family.places(cut.after):
            raise AdapterError(
                f"GenericAdapter: behind the last of {depth} layers only whoever reads the encoder's output can tell "
                "that it is shorter; give reader=..., the path of that module, or cut earlier"
            )
        return EncoderPruning(model, family, cut, done, owner)

    def family(self, model: nn.Module) -> EncoderFamily | CrossFamily | PromptFamily:
        """What the paths stand for on one model.

        Raises:
            AdapterError: there is nothing at a path, or something that cannot be used.
        """
        if places_by_row_and_column(model):
            raise AdapterError(
                f"{type(model).__name__} places image tokens by row and column, and paths alone do not say how to "
                "place fewer of them; leave adapter=... out where tokprune.adapter_for(model) finds one, or write an "
                "adapter of your own"
            )
        reader = self.reader or _READERS[self.seam]
        for path in (self.encoder, reader, *([self.base] if self.seam == "embed_merge" else [])):
            if path and path not in dict(model.named_modules()):
                raise AdapterError(missing(model, path))
        layers = self._projections.layer_paths(model)
        if self.seam == "embed_merge":
            return self._embed_family(model, reader)
        attention = self._projections.attention(model)
        if self.seam == "encoder_output":
            return CrossFamily(
                name="GenericAdapter",
                encoder=self.encoder,
                decoder=reader,
                crossings=(),
                given=[name for name in ("encoder_outputs",) if name in inspect.signature(model.forward).parameters],
                attention=attention,
                protected=self.protected,
                patch_size=self.patch_size,
            )
        return EncoderFamily(
            name="GenericAdapter",
            encoder=self.encoder,
            layers=layers,
            attention=attention,
            protected=self.protected,
            patch_size=self.patch_size or 1,
            reader=reader or layers[-1],
        )

    def _embed_family(self, model: Any, reader: str) -> PromptFamily:
        base = module_at(model, self.base)
        features = getattr(base, "get_image_features", None)
        if features is None:
            raise AdapterError(f"{type(base).__name__} at {self.base!r} has no get_image_features; give base=...")
        token = self.image_token_id
        if token is None:
            token = getattr(getattr(model, "config", None), "image_token_id", None)
        if token is None:
            raise AdapterError("the configuration has no image_token_id; give the id of the placeholders")
        attention = self._projections.attention(model, self.protected)
        return PromptFamily(
            name="GenericAdapter",
            image_token_id=token,
            arguments=[
                name for name, each in inspect.signature(features).parameters.items() if each.kind != each.VAR_KEYWORD
            ],
            sources={"encoder_attention": attention} if attention else {},
            base=self.base,
            language_model=reader,
        )
