"""Blind: the same model with its visual prefix zeroed. What it still gets right, it gets from the question alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tokprune.errors import AdapterError

_PREFIX_MODULE = "language_projection"
"""The module whose output is the visual prefix, in BLIP-2 and InstructBLIP."""


def can_be_blind(model: nn.Module) -> bool:
    """Whether it is known where this model's visual prefix comes from."""
    return isinstance(getattr(model, _PREFIX_MODULE, None), nn.Module)


@contextmanager
def blind(model: nn.Module) -> Iterator[None]:
    """Zeroes the visual prefix of a BLIP-2-like model inside the block.

    Raises:
        AdapterError: It is not known where this model's visual prefix comes from.
    """
    if not can_be_blind(model):
        raise AdapterError(
            f"blind score: expected a model with a '{_PREFIX_MODULE}' (BLIP-2, InstructBLIP), "
            f"got {type(model).__name__}; run without it (--no-blind)"
        )
    hook = model.get_submodule(_PREFIX_MODULE).register_forward_hook(
        lambda module, args, output: torch.zeros_like(output)
    )
    try:
        yield
    finally:
        hook.remove()
