"""One forward that looks at what enters pairs of modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Lengths:
    """What entered the projections of an attention module when it first ran.

    Attributes:
        queries: tokens on the side of the queries.
        keys: tokens on the side of the keys.
        same: whether both sides are the same tensor; None where something stands in front of what was looked at.
    """

    queries: int
    keys: int
    same: bool | None


class _Watch:
    """Notes the first tensor that enters a module."""

    def __init__(self) -> None:
        self.seen: Tensor | None = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.seen is None:
            self.seen = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)


def probe(model: nn.Module, inputs: Mapping[str, Any], pairs: Mapping[str, tuple[str, str]]) -> dict[str, Lengths]:
    """Run `model` once and tell what entered the two children, by name, of each module at a path.

    Modules that do not run are left out.
    """
    watches = {path: [_Watch() for _ in pair] for path, pair in pairs.items()}
    hooks = [
        model.get_submodule(f"{path}.{name}".lstrip(".")).register_forward_pre_hook(watch, with_kwargs=True)
        for path, pair in pairs.items()
        for name, watch in zip(pair, watches[path], strict=True)
    ]
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    seen = {path: (query.seen, key.seen) for path, (query, key) in watches.items()}
    found = {path: _lengths(*sides, first=_is_first(model, path, pairs[path])) for path, sides in seen.items()}
    return {path: lengths for path, lengths in found.items() if lengths is not None}


def _is_first(model: nn.Module, path: str, pair: tuple[str, str]) -> bool:
    """Whether the modules of a pair are given what enters the attention, and not what others make of it."""
    return hasattr(model.get_submodule(f"{path}.{pair[0]}".lstrip(".")), "out_features")


def _lengths(query: Tensor | None, key: Tensor | None, first: bool) -> Lengths | None:
    if query is None or key is None or query.dim() != 3 or key.dim() != 3:
        return None
    return Lengths(query.shape[1], key.shape[1], query is key if first else None)
