"""Proportional attention after output pruning: in the encoder's later layers, and where others attend to its output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.calls import Observation
from tokprune.adapters.modules import module_at
from tokprune.adapters.output.family import EncoderFamily
from tokprune.adapters.sizes import Sizes
from tokprune.adapters.tap import Seen, reaches
from tokprune.adapters.upstream import added_mask
from tokprune.errors import UnsupportedCallError


@dataclass(kw_only=True)
class Passed(Observation):
    """What an encoder passed on, until the whole call ends."""

    sizes: Sizes | None


def attentions(model: nn.Module, family: EncoderFamily, first: int) -> list[tuple[int, nn.Module | None]]:
    """The attention module of each layer from number `first` on, counted from 0; None where it cannot be weighed."""
    found = []
    for index in range(first, len(family.layers)):
        layer = module_at(model, family.layers[index])
        inside = [module for module in layer.modules() if weighable(module)]
        found.append((index, inside[0] if len(inside) == 1 else None))
    return found


def weighable(module: nn.Module) -> bool:
    """Whether keys of `module` can be weighed."""
    return reaches(module) or isinstance(module, nn.MultiheadAttention) or added_mask(module) is not None


def why_plain(model: nn.Module, family: EncoderFamily, places: Sequence[int]) -> str:
    """Why attention cannot be proportional after these layers, in words; "" if it can."""
    for index, module in attentions(model, family, places[0]):
        if module is None:
            kind = type(module_at(model, family.layers[index])).__name__
            return (
                f"the attention in a {kind} computes its logits by itself and takes no mask that would be added to them"
            )
    for path in family.crossed:
        module = module_at(model, path)
        if not weighable(module):
            return f"{type(module).__name__} at {path!r}, which reads the encoder's output, cannot be tapped"
    return ""


def refuse_weighing_again(*modules: nn.Module) -> None:
    """Raise `UnsupportedCallError` where gradient checkpointing computes attention again, when sizes are forgotten."""
    if torch.is_grad_enabled() and any(
        module.training and getattr(module, "gradient_checkpointing", False)
        for each in modules
        for module in each.modules()
    ):
        raise UnsupportedCallError(
            "gradient checkpointing computes attention again in backward, where the sizes of merged tokens are no "
            "longer known; switch it off, or choose attention='plain'"
        )


def output_logs(sizes: Sizes, seen: Seen, joined: bool) -> Tensor:
    """What is added to the logits of an encoder's tokens `[row key]` where they are attended to.

    Args:
        sizes: of the tokens of each image.
        seen: the call.
        joined: whether the images of a row come as one sequence.

    Raises:
        UnsupportedCallError: these are not the tokens that have the sizes.
    """
    rows, keys = seen.key.shape[0], seen.key.shape[2]
    if joined and keys % sizes.sizes.shape[1] == 0 and sizes.sizes.numel() % keys == 0:
        sizes = Sizes(sizes.sizes.reshape(-1, keys))
    if sizes.sizes.shape[1] != keys or rows % sizes.batch:
        raise UnsupportedCallError(
            f"attention reads {rows} rows of {keys} tokens, and those that were merged are {sizes.batch} rows of "
            f"{sizes.sizes.shape[1]}; encode and decode in one call, or choose attention='plain'"
        )
    return sizes.logs(seen)


class Key:
    """Something of an attachment that calls can be filed under, beside the attachment itself."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
