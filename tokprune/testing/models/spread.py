"""Random weights that matter, and attention that spreads, so that what a tiny model keeps is no rounding noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

SPREAD = 2.0
"""Standard deviation of the attention logits that one query has for the keys."""
HEADS = 4
"""Heads of every tiny model's queries; two of them may share their keys."""
SIDES = (
    ("q_norm", "k_norm"),
    ("q_layer_norm", "k_layer_norm"),
    ("q_proj", "k_proj"),
    ("query", "key"),
    ("q_attn", "c_attn"),
    ("qkv", "qkv"),
)
"""What an attention module makes its queries and keys with; norms, which undo what comes before them, first."""


@dataclass(frozen=True)
class Spread:
    """Attention modules whose logits are to spread.

    Args:
        paths: pattern of their paths.
        over: along which dimension of `[batch head query key]`: 3, the keys; 2, the queries, where those are the
            candidates; None, all that is finite.
        first: only so many keys are candidates; None: all.
        look: (model, inputs) -> runs as much of the model as they need; None: as much as its row says.
    """

    paths: str
    over: int | None = 3
    first: int | None = None
    look: Callable[[Any, dict[str, Any]], Any] | None = None


@torch.no_grad()
def randomise(model: Any, seed: int, ones: Sequence[str] = ()) -> None:
    """Draw all parameters anew, large enough to matter; norms, and what has one of `ones` in its name, near 1."""
    # transformers starts the query tokens at zero (all queries would be one) and everything else far too small.
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(noise * 0.25)
        else:
            one = ("norm" in name.lower() and name.endswith("weight")) or any(part in name for part in ones)
            parameter.copy_(noise * 0.1 + (1.0 if one else 0.0))


@torch.no_grad()
def spread(model: Any, wanted: Spread, run: Callable[[], Any]) -> None:
    """Scale what makes the queries, one module after the other, until the logits of a run spread by `SPREAD`."""
    for path in [path for path, _ in model.named_modules() if fnmatchcase(path, wanted.paths)]:
        module = model.get_submodule(path)
        logits = logits_of(module, run)
        if logits is None:
            continue
        query, key = _sides(module)
        logits = logits[..., : wanted.first]
        over = wanted.over
        deviation = logits[logits.isfinite()].std() if over is None else logits.std(dim=over).mean()
        side = getattr(module, query)
        rows = slice(0, side.weight.shape[0] // 3 if query == key else None)
        side.weight[rows] *= SPREAD / deviation
        if getattr(side, "bias", None) is not None:
            side.bias[rows] *= SPREAD / deviation


def logits_of(module: Any, run: Callable[[], Any]) -> Tensor | None:
    """The logits `[batch head query key]` of an attention module in a run, before positions turn them.

    None for what is no attention, or does not run, such as a layer after the one whose output is taken.
    """
    sides, seen = _sides(module), dict[str, Tensor]()
    hooks = [
        getattr(module, name).register_forward_hook(lambda _, args, output, name=name: seen.update({name: output}))
        for name in set(sides)
    ]
    run()
    for hook in hooks:
        hook.remove()
    if not seen:
        return None
    query, key = (seen[name] for name in sides)
    if sides[0] == sides[1]:
        query, key, _ = query.chunk(3, dim=-1)
    elif query.shape[-1] != key.shape[-1] and sides[1] == "c_attn":
        key = key[..., : query.shape[-1]]  # GPT-2 makes keys and values at once
    width = query.shape[-1] if query.dim() == 4 else query.shape[-1] // HEADS
    query, key = _heads_apart(query, width), _heads_apart(key, width)
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    logits: Tensor = query @ key.transpose(2, 3) * width**-0.5
    return logits


def _heads_apart(side: Tensor, width: int) -> Tensor:
    """`[batch head token dim]` of what a projection or a norm gives."""
    if side.dim() == 2:
        side = side[None]  # images packed into one sequence
    if side.dim() == 3:
        side = side.reshape(*side.shape[:2], -1, width)
    elif side.shape[1] in (HEADS // 2, HEADS) and side.shape[2] not in (HEADS // 2, HEADS):
        return side
    return side.transpose(1, 2)


def _sides(module: Any) -> tuple[str, ...]:
    """Names of what makes queries and keys in a module; none if it is no attention."""
    for query, key in SIDES:
        made = (getattr(module, query, None), getattr(module, key, None))
        if all(isinstance(side, nn.Module) and getattr(side, "weight", None) is not None for side in made):
            return query, key
    return ()
