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
        each: Any
        for each in modules:
            hook = getattr(each, "_hf_hook", None)  # accelerate's, for offloaded weights and for several devices
            if hook is not None:
                hook.pre_forward(each)
                stack.callback(hook.post_forward, each, None)
            if hasattr(each, "unshard"):  # torch's fully_shard
                each.unshard()
                stack.callback(each.reshard)
        yield
