"""An encoder's layers and the projections in them, given as paths with a star for the number of the layer."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from torch import nn

from tokprune.adapters.modules import STAR, joined, module_at, modules_like
from tokprune.adapters.sources import AttentionSource
from tokprune.errors import AdapterError, InvalidValueError


@dataclass(frozen=True)
class Projections:
    """Where queries and keys of an encoder come from; what `GenericAdapter` is given.

    Args:
        encoder: path of the encoder; the others go on from it.
        q: projections of the queries.
        k: projections of the keys.
        qkv: fused projections, in place of those.
        layers: the layers, in place of any projections.
        heads: number of heads.
        scale: factor on the dot products; None for one over the root of a head's width.
    """

    encoder: str
    q: str
    k: str
    qkv: str
    layers: str
    heads: int
    scale: float | None

    def check(self) -> None:
        """Raise `InvalidValueError` unless so much is given as is needed, and no more."""
        if bool(self.q) != bool(self.k) or [bool(self.q), bool(self.qkv), bool(self.layers)].count(True) != 1:
            raise InvalidValueError(
                "GenericAdapter: give q and k, or qkv, or only layers (then nothing votes); got "
                f"q={self.q!r}, k={self.k!r}, qkv={self.qkv!r}, layers={self.layers!r}"
            )
        for path in filter(None, (self.q, self.k, self.qkv, self.layers)):
            if path.count(STAR) != 1:
                raise InvalidValueError(
                    f"GenericAdapter: path {path!r}: expected one star, for the number of the layer, as in "
                    "'layers.*.self_attn.q_proj'"
                )
        if not self.layers and (isinstance(self.heads, bool) or not isinstance(self.heads, int) or self.heads < 1):
            raise InvalidValueError(f"GenericAdapter: heads must be a positive number, got {self.heads!r}")

    def layer_paths(self, model: nn.Module) -> list[str]:
        """The layers, in order: what stands in front of the star."""
        inside = self.layers or f"{(self.qkv or self.q).partition(STAR)[0]}{STAR}"
        return list(modules_like(model, joined(self.encoder, inside)).values())

    def attention(self, model: nn.Module, protected: int = 0) -> list[AttentionSource]:
        """The attention of each layer; none where only layers are given.

        Raises:
            AdapterError: there is nothing at a path, or what is there cannot be what attends.
        """
        if self.layers:
            return []
        depth = len(self.layer_paths(model))
        given = {"query key value": self.qkv} if self.qkv else {"query": self.q, "key": self.k}
        found = {parts: list(modules_like(model, joined(self.encoder, path)).values()) for parts, path in given.items()}
        for parts, paths in found.items():
            if len(paths) != depth:
                raise AdapterError(
                    f"{len(paths)} of the encoder's {depth} layers have a module {given[parts]!r}; all need one"
                )
        for paths in found.values():
            _refuse_rotation(model, paths[0])
        scale = self._scale(model, found)
        return [
            AttentionSource(
                "encoder_attention",
                index,
                tuple(zip(paths, found, strict=True)),
                self.heads,
                scale,
                candidates="key",
                protected=protected,
            )
            for index, paths in enumerate(zip(*found.values(), strict=True))
        ]

    def _scale(self, model: nn.Module, found: dict[str, list[str]]) -> float:
        widths = {_width(module_at(model, path), parts) for parts, paths in found.items() for path in paths}
        if len(widths) > 1:
            raise AdapterError(
                f"queries and keys must be equally wide in all layers, got widths {sorted(map(str, widths))}"
            )
        (width,) = widths
        if width is not None and width % self.heads:
            raise AdapterError(f"queries of width {width} cannot have {self.heads} heads")
        if self.scale is not None:
            return self.scale
        if width is None:
            raise AdapterError("how wide a head is cannot be seen at these projections; give scale=...")
        scale: float = (width // self.heads) ** -0.5
        return scale


def _width(projection: nn.Module, parts: str) -> int | None:
    width = getattr(projection, "out_features", None)
    return width // len(parts.split()) if isinstance(width, int) else None


def _refuse_rotation(model: nn.Module, path: str) -> None:
    attention = module_at(model, path.rpartition(".")[0])
    if "position_embeddings" in inspect.signature(attention.forward).parameters:
        raise AdapterError(
            f"{type(attention).__name__} rotates queries and keys behind {path!r}, so what a hook sees there is not "
            "what attends; give only layers=..., and score by tokens, or write an adapter of your own"
        )
