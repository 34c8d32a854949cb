"""Compiled code does not look at hooks that came or went after it was compiled, so it has to be compiled again."""

from __future__ import annotations

import sys
from typing import Any
from weakref import WeakSet

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


_ATTACHED: WeakSet[Any] = WeakSet()
"""The attachments that have hooks on a model, but for those that were thrown away along with it."""
_FOUND: dict[str, bool] = {}
"""What torch's setting was when the first of them came."""
_SETTING = "skip_nnmodule_hook_guards"


def guard_hooks(attachment: object) -> None:
    """Let compiled code look at hooks as long as `attachment` has some.

    All modules of a class share their compiled code, and by default it does not look at whether one has hooks and
    another has none: a hooked layer would run the code of its sisters, past the hook. The setting is one for the whole
    process, so it is put back when the last attachment is gone. There is no lock: an interrupt at its end would leave
    it held.
    """
    import torch._dynamo

    config: Any = torch._dynamo.config
    _ATTACHED.add(attachment)
    if hasattr(config, _SETTING):
        _FOUND.setdefault(_SETTING, getattr(config, _SETTING))
        setattr(config, _SETTING, False)


def release_hooks(attachment: object) -> None:
    """Say that `attachment` has no hooks any more."""
    import torch._dynamo

    config: Any = torch._dynamo.config
    _ATTACHED.discard(attachment)
    if not _ATTACHED and _SETTING in _FOUND:
        setattr(config, _SETTING, _FOUND[_SETTING])
        if _ATTACHED:  # one came meanwhile, in another thread
            setattr(config, _SETTING, False)
        else:
            _FOUND.pop(_SETTING, None)
