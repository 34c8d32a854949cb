"""What an unknown model has that could vote: its attention modules, by the names of their projections."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from tokprune.adapters.attention import FUSED, HEADS, PAIRS, SCALES, crosses, projections_of
from tokprune.adapters.modules import STAR, joined, starred
from tokprune.probe import Lengths, probe

Kind = Literal["self", "cross", "unknown"]


@dataclass(frozen=True)
class AttentionStack:
    """The attention modules of one stack of layers.

    Attributes:
        path: where they are, with a star for the number of the layer.
        layers: how many there are.
        projections: names of the modules in them that make queries and keys (or all at once); empty if there are none
            that a hook could see.
        heads: number of heads, or None where nothing says it.
        kind: "self", "cross", or "unknown" where neither names nor a probe tell.
        scale: factor on the dot products, where it is not the usual one; None where it is.
        lengths: numbers of queries and keys in the probe; None without one, or where they did not run.
        notes: why what is captured there would not be what attends.
    """

    path: str
    layers: int
    projections: tuple[str, ...]
    heads: int | None
    kind: Kind
    scale: float | None = None
    lengths: Lengths | None = None
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether a `GenericAdapter` can take its votes from here."""
        return bool(self.projections) and self.kind != "cross" and not self.notes and self.path.count(STAR) == 1

    @property
    def call(self) -> str | None:
        """The `GenericAdapter` that would use it, as it is written; None if none can."""
        if not self.usable:
            return None
        layers, attention = self.path.split(STAR)
        encoder, _, stack = layers.rstrip(".").rpartition(".")
        inside = joined(stack, STAR) + attention
        if len(self.projections) == 1:
            where = f'qkv="{inside}.{self.projections[0]}"'
        else:
            where = f'q="{inside}.{self.projections[0]}", k="{inside}.{self.projections[1]}"'
        scale = "" if self.scale is None else f", scale={self.scale:g}"
        return f'GenericAdapter(encoder="{encoder}", {where}, heads={self.heads or "..."}{scale})'

    def __str__(self) -> str:
        layers = f"{self.layers} layer{'s' if self.layers > 1 else ''}"
        heads = "number of heads unknown" if self.heads is None else f"{self.heads} heads"
        kind = "self- or cross-attention" if self.kind == "unknown" else f"{self.kind}-attention"
        parts = [layers, heads, "/".join(self.projections) or "no projections", kind]
        if self.lengths is not None:
            parts.append(f"{self.lengths.queries} queries for {self.lengths.keys} keys")
        return f"{self.path}: {', '.join([*parts, *self.notes])}"


def inspect_attention(model: nn.Module, inputs: Mapping[str, Any] | None = None) -> list[AttentionStack]:
    """The attention modules of any model, grouped by stacks of layers: where an adapter could take votes from.

    They are known by the names of their projections, so a model that calls them otherwise shows fewer than it has.

    Args:
        model: any model; it may come without weights. It is left as it is.
        inputs: keyword arguments of its forward. With them the model runs once, and self- and cross-attention are told
            apart by what enters the projections; without them by their names.

    Example:
        >>> from torch import nn
        >>> class Attention(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.num_heads, self.q_proj, self.k_proj = 4, nn.Linear(8, 8), nn.Linear(8, 8)
        >>> model = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"attn": Attention()}) for _ in range(3)])})
        >>> for stack in inspect_attention(model):
        ...     print(stack)
        layers.*.attn: 3 layers, 4 heads, q_proj/k_proj, self- or cross-attention
    """
    found = {path: stack for path, module in model.named_modules() if (stack := _candidate(path, module)) is not None}
    if inputs is not None:
        seen = {path: stack.projections for path, stack in found.items() if stack.projections}
        pairs = {path: (names[0], names[-1]) for path, names in seen.items()}
        for path, lengths in probe(model, inputs, pairs).items():
            found[path] = replace(found[path], lengths=lengths, kind=_seen(found[path].kind, lengths))
    groups: dict[AttentionStack, int] = {}
    for path, stack in found.items():
        key = replace(stack, path=starred(path))
        groups[key] = groups.get(key, 0) + 1
    return [replace(stack, layers=count) for stack, count in groups.items()]


def _candidate(path: str, module: nn.Module) -> AttentionStack | None:
    children = dict(module.named_children())
    if isinstance(module, nn.MultiheadAttention) or isinstance(getattr(module, "in_proj_weight", None), Tensor):
        note = "its projections are no modules, so no hook sees queries and keys"
        return AttentionStack(path, 1, (), _heads(module, None), _kind(path, None), notes=(note,))
    names = tuple(projections_of(module) or ())
    if not names:
        return None
    width = getattr(children[names[0]], "out_features", None)
    width = width // (3 if len(names) == 1 else 1) if isinstance(width, int) else None
    heads, notes = _heads(module, width), _notes(module, children, names)
    return AttentionStack(path, 1, names, heads, _kind(path, children), _scale(module, width, heads), notes=notes)


def _heads(module: nn.Module, width: int | None) -> int | None:
    """What the module says, or its configuration, if it divides the width."""
    for place in (module, getattr(module, "config", None)):
        for name in HEADS:
            heads = getattr(place, name, None)
            if isinstance(heads, int) and not isinstance(heads, bool) and heads > 0 and not (width or heads) % heads:
                return heads
    size = getattr(module, "head_dim", None)
    return width // size if isinstance(size, int) and width and not width % size else None


def _kind(path: str, children: Mapping[str, nn.Module] | None) -> Kind:
    if crosses(path):
        return "cross"
    if children is not None and len({getattr(children[n], "in_features", 0) for n in _pair(children)}) > 1:
        return "cross"
    if "self" in path.lower() or (children is not None and any(name in children for name in FUSED)):
        return "self"
    return "unknown"


def _pair(children: Mapping[str, nn.Module]) -> tuple[str, ...]:
    return next((pair for pair in PAIRS[1:] if all(name in children for name in pair)), ())


def _seen(kind: Kind, lengths: Lengths) -> Kind:
    if lengths.queries != lengths.keys or lengths.same is False:
        return "cross"
    return "self" if lengths.same else kind


def _scale(module: nn.Module, width: int | None, heads: int | None) -> float | None:
    scale = next((s for s in (getattr(module, n, None) for n in SCALES) if isinstance(s, float)), None)
    if scale is None or not width or not heads:
        return None
    return None if abs(scale - (width // heads) ** -0.5) < 1e-6 else scale


def _notes(module: nn.Module, children: Mapping[str, nn.Module], names: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    if "position_embeddings" in inspect.signature(module.forward).parameters or "rotary_emb" in children:
        notes.append("rotary positions are put on queries and keys behind the projections")
    if any("relative" in name for name in (*children, *vars(module))) or hasattr(module, "compute_bias"):
        notes.append("a bias for relative positions joins the dot products")
    if getattr(module, "is_causal", False) is True:
        notes.append("tokens see only those in front of them")
    widths = {getattr(children[name], "out_features", None) for name in names}
    if len(widths) > 1:
        notes.append("fewer heads of keys than of queries")
    return tuple(notes)
