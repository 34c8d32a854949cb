"""Compiled code does not look at hooks that came or went after it was compiled, so it has to be compiled again."""

from __future__ import annotations

from torch import nn


def unwrap_compiled(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile`'s wrapper, or `model` itself."""
    inner = getattr(model, "_orig_mod", model)
    return inner if isinstance(inner, nn.Module) else model


def forget_compiled(model: nn.Module) -> None:
    """Make torch compile again if any part of `model` is compiled."""
    if any(getattr(m, "_compiled_call_impl", None) is not None or hasattr(m, "_orig_mod") for m in model.modules()):
        import torch._dynamo as dynamo  # slow to import, and only needed here

        dynamo.reset()
