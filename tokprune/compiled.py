"""Compiled code does not look at hooks that came or went after it was compiled, so it has to be compiled again."""

from __future__ import annotations

import sys

from torch import nn


def unwrap_compiled(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile`'s wrapper, or `model` itself."""
    inner = getattr(model, "_orig_mod", model)
    return inner if isinstance(inner, nn.Module) else model


def forget_compiled() -> None:
    """Make torch compile again whatever it compiled: a model cannot tell whether a wrapper around it is compiled."""
    dynamo = sys.modules.get("torch._dynamo")  # slow to import, and nothing is compiled before it is
    if dynamo is not None:
        dynamo.reset()
