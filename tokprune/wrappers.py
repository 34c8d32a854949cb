"""What stands around a model: wrappers that only pass calls on, and outer models that it is a part of."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from torch import nn

from tokprune.adapters.upstream import FEATURE_METHODS
from tokprune.compiled import unwrap_compiled
from tokprune.errors import UnsupportedCallError
from tokprune.interfaces import Adapter
from tokprune.registry import default_registry


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile`, `DistributedDataParallel` and PEFT's wrappers, or `model` itself.

    Those pass a call on to the one module inside, hooks and all.
    """
    while isinstance(model, nn.Module):
        inner = unwrap_compiled(model)
        if isinstance(inner, nn.parallel.DistributedDataParallel):
            inner = inner.module
        elif _is_peft(inner):
            inner = inner.get_base_model()  # type: ignore[operator]
        if inner is model:
            break
        model = inner
    return model


def _is_peft(model: nn.Module) -> bool:
    # A model of a library that was never imported cannot exist, so there is no need to import it here.
    kind = getattr(sys.modules.get("peft"), "PeftModel", None)
    return kind is not None and isinstance(model, kind)


def known_inside(model: nn.Module) -> str | None:
    """The path of the first module inside `model` that an adapter knows, with its class and adapter, in words."""
    for path, module in model.named_modules():
        for entry in default_registry().entries("adapter") if path else ():
            if entry.cls().matches(module):
                return f"{path!r}, a {type(module).__name__}, which adapter {entry.name!r} knows"
    return None


def refuse_a_part(model: nn.Module) -> None:
    """Raise if `model` is being called by an outer model that has a placeholder for each of its tokens.

    Who calls can only be seen in the call, on Python's stack.

    Raises:
        UnsupportedCallError: it is; the message names the outer model.
    """
    for outer in _callers(model):
        for entry in default_registry().entries("adapter"):
            adapter: Adapter = entry.cls()
            if getattr(adapter, "placeholders", False) and adapter.matches(outer):
                raise UnsupportedCallError(
                    f"the pruned {type(model).__name__} is a part of a {type(outer).__name__} here, whose prompt has a "
                    "placeholder for each of its tokens; call handle.remove(), and tokprune.apply on the whole "
                    f"{type(outer).__name__}"
                )


def _callers(model: nn.Module) -> Iterator[nn.Module]:
    """The modules around the method that is computing image features just now; none if there is no such method."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name not in FEATURE_METHODS:
        frame = frame.f_back  # type: ignore[assignment]
    while frame is not None:
        # Asked for no more than that: a frame keeps the values of all its variables once they were asked for.
        owner = frame.f_locals.get("self") if "self" in frame.f_code.co_varnames[:1] else None
        if isinstance(owner, nn.Module) and owner is not model:
            yield owner
        frame = frame.f_back  # type: ignore[assignment]
