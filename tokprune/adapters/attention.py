"""Finds attention layers: path, projections, heads and scale of each, from the modules themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from tokprune.adapters.modules import joined, module_at
from tokprune.adapters.sources import AttentionSource
from tokprune.errors import AdapterError

PAIRS = (
    ("q_norm", "k_norm"),
    ("q_layer_norm", "k_layer_norm"),
    ("q_proj", "k_proj"),
    ("query", "key"),
    ("to_q", "to_k"),
    ("q", "k"),
    ("q_lin", "k_lin"),
    ("query_proj", "key_proj"),
    ("q_layer", "k_layer"),
    ("wq", "wk"),
)
"""Names of the modules that make queries and keys; norms after the projections come first: what they give attends."""
FUSED = ("qkv", "qkv_proj", "query_key_value", "c_attn", "Wqkv", "to_qkv")
"""Names of projections that make queries, keys and values at once."""
QUERY_AND_FUSED = ("q_attn", "c_attn")
"""GPT-2's cross-attention: queries alone, keys and values at once."""
VALUES = ("v_proj", "value", "to_v", "v", "v_lin", "value_proj", "v_layer", "wv")
"""Names of the projections that make values alone."""
HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads", "nhead")
"""Names of the number of heads."""
HEAD_SIZES = ("head_dim", "attention_head_size")
"""Names of the width of a head."""
SCALES = ("scaling", "scale")
"""Names of the factor on the dot products."""
_CROSS = ("cross", "encoder_attn", "encdec", "encoder_decoder")


def find_attention(
    model: nn.Module,
    below: str,
    signal: str = "encoder_attention",
    candidates: Literal["query", "key"] = "key",
    *,
    crossing: bool | None = None,
    layers: int | None = None,
    **options: Any,
) -> list[AttentionSource]:
    """The attention layers below a path, in order.

    Args:
        model: the whole model.
        below: path of the module that has the layers.
        signal: the signal that they make.
        candidates: which side of them is the target.
        crossing: True for cross-attention alone, False for all other attention, None for any; its name says which.
        layers: how many of them, from the first; None for all.
        options: more arguments of each `AttentionSource`.

    Raises:
        AdapterError: there is none, or one does not say how many heads it has.
    """
    found: list[AttentionSource] = []
    for name, module in module_at(model, below).named_modules():
        path, parts = joined(below, name), projections_of(module)
        if parts is None or (crossing is not None and crosses(name) != crossing):
            continue
        heads, scale = _heads_and_scale(path, module, parts)
        modules = tuple((f"{path}.{child}", made) for child, made in parts.items())
        source = AttentionSource(signal, len(found), modules, heads, scale, candidates, attention=path, **options)
        found.append(source)
    if not found:
        word = "" if crossing is None else "cross-" if crossing else "self-"
        raise AdapterError(
            f"{type(module_at(model, below)).__name__} at {below!r} has no {word}attention layers that are known here; "
            "expected modules with projections such as q_proj and k_proj, query and key, or qkv"
        )
    return found[:layers]


def crosses(path: str) -> bool:
    """Whether the name of an attention module says that its keys come from elsewhere.

    Example:
        >>> crosses("decoder.layers.0.encoder_attn"), crosses("decoder.layers.0.self_attn")
        (True, False)
    """
    return any(word in path.lower() for word in _CROSS)


def projections_of(module: nn.Module) -> Mapping[str, str] | None:
    """Name of a child of an attention module -> what it makes ("query", "key", "query key value"); None for others."""
    children = {name for name, child in module.named_children() if not isinstance(child, nn.Identity)}
    for query, key in PAIRS:
        if {query, key} <= children:
            return {query: "query", key: "key"}
    if children.issuperset(QUERY_AND_FUSED):
        return dict(zip(QUERY_AND_FUSED, ("query", "key value"), strict=True))
    return next(({name: "query key value"} for name in FUSED if name in children), None)


def projections_for(model: nn.Module, source: AttentionSource) -> list[tuple[str, str]]:
    """Path of each projection that makes what is kept of a source -> what it makes.

    Raises:
        AdapterError: nothing makes it.
    """
    if source.part is None:
        return list(source.modules)
    found = [(path, made) for path, made in source.modules if source.part in made.split()]
    attention = source.attention or source.modules[0][0].rpartition(".")[0]
    children = dict(module_at(model, attention).named_children())
    if not found and source.part == "value":
        found = [(f"{attention}.{name}", "value") for name in VALUES if name in children][:1]
    if not found:
        raise AdapterError(
            f"no module of {attention!r} is known to make its {source.part}s, so {source.signal!r} cannot be observed; "
            f"expected one of {', '.join(VALUES)}. Do not offer {source.signal!r} here"
        )
    return found


def _heads_and_scale(path: str, module: nn.Module, parts: Mapping[str, str]) -> tuple[int, float]:
    heads = _first(HEADS, int, module, getattr(module, "config", None))
    size = _first(HEAD_SIZES, int, module)
    child, made = next(iter(parts.items()))
    width = getattr(module.get_submodule(child), "out_features", None)
    if heads is not None and size is None and width is not None:
        size = width // len(made.split()) // heads
    if heads is None or size is None:
        raise AdapterError(
            f"{type(module).__name__} at {path!r} does not say how many heads it has, or how wide they are; expected "
            f"an attribute such as {HEADS[0]!r}, and projections with out_features"
        )
    scale = _first(SCALES, float, module)
    return heads, size**-0.5 if scale is None else scale


def _first(names: tuple[str, ...], kind: type, *places: Any) -> Any:
    """The first attribute by one of `names` that is a number of this kind, in one of `places`; else None."""
    found = (getattr(place, name, None) for place in places for name in names)
    return next((value for value in found if isinstance(value, kind) and not isinstance(value, bool)), None)
