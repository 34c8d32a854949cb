"""The weights of a module that others keep elsewhere until it is called: offloaded by accelerate, sharded by FSDP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn


@contextmanager
def weights_at_hand(*modules: nn.Module) -> Iterator[None]:
    """Have the weights of modules there as in a call of them, so that a method can be called by itself.

    Those of their submodules come when they are called in turn.
    """
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(_loaded(module))
            stack.enter_context(_gathered(module))
        yield


@contextmanager
def _loaded(module: Any) -> Iterator[None]:
    hook = getattr(module, "_hf_hook", None)  # accelerate's, for offloaded weights and for several devices
    if hook is None:
        yield
        return
    hook.pre_forward(module)
    try:
        yield
    finally:
        hook.post_forward(module, None)


@contextmanager
def _gathered(module: Any) -> Iterator[None]:
    if not hasattr(module, "unshard"):  # torch's fully_shard
        yield
        return
    module.unshard()
    try:
        yield
    finally:
        module.reshard()
