"""Which backend counts: the one asked for, or the best that runs here."""

from __future__ import annotations

import functools
import warnings
from types import ModuleType

import torch
from torch import Tensor

from tokprune.errors import BackendError
from tokprune.functional.chunks import is_traced
from tokprune.kernels import reference
from tokprune.kernels.backends import Backend, check_backend, note_backend
from tokprune.kernels.inputs import AttentionInput

OLDEST = (8, 0)
"""The lowest compute capability that Triton supports."""

_failed = False  # Triton failed once in this process although nothing spoke against it; "auto" does not try again


def count(where: str, what: str, given: AttentionInput, backend: Backend) -> Tensor:
    """The "points" or the "total" of an attention layer, by the chosen backend.

    Raises:
        InvalidValueError: there is no such backend.
        BackendError: "triton" was asked for and cannot count this here.
    """
    check_backend(where, backend)
    fused = None
    if backend == "triton" or (backend == "auto" and _worth_trying(given)):
        obstacle = _obstacle(what, given)
        if obstacle is not None and backend == "triton":
            raise BackendError(
                f"{where}: backend 'triton' cannot count this here: {obstacle}. 'auto' and 'reference' can"
            )
        fused = None if obstacle is not None else _fused()
    if fused is None:
        note_backend("reference")
        return _call(reference, what, given)
    result = _call(fused, what, given) if backend == "triton" else _attempt(fused, what, given)
    if result is None:
        return count(where, what, given, "reference")
    note_backend("triton")
    return result


def _call(implementation: ModuleType, what: str, given: AttentionInput) -> Tensor:
    result: Tensor = getattr(implementation, what)(given)
    return result


def _attempt(fused: ModuleType, what: str, given: AttentionInput) -> Tensor | None:
    global _failed
    try:
        return _call(fused, what, given)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # no compiler for the launcher, a driver too old, ...: a model must not stop for that
        _failed = True
        warnings.warn(f"tokprune: Triton failed, so torch counts votes from now on: {error}", RuntimeWarning, 2)
        return None


def _worth_trying(given: AttentionInput) -> bool:
    # Neither code that torch compiles nor tensors without memory of their own (fake ones, say) can be launched on.
    plain = type(given.query) is Tensor and type(given.key) is Tensor
    return given.query.device.type == "cuda" and plain and not _failed and not torch.compiler.is_compiling()


def _obstacle(what: str, given: AttentionInput) -> str | None:
    """Why Triton cannot count this, or None."""
    if is_traced():
        return "torch.jit.trace does not record what a Triton kernel does, and would keep this call's numbers"
    fused = _fused()
    if fused is None:
        return "triton is not installed"
    device = given.query.device
    if device.type == "cuda":
        if torch.version.cuda is not None and _capability(device) < OLDEST:
            return f"{torch.cuda.get_device_name(device)} has compute capability {_capability(device)}, below {OLDEST}"
    elif not fused.interpreted():
        return (
            f"the tensors are on {device}, not on a CUDA device (and TRITON_INTERPRET=1 was not set when triton was "
            "imported)"
        )
    reason: str | None = fused.too_large(given, ranked=what == "points")
    return reason


@functools.cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


@functools.cache
def _fused() -> ModuleType | None:
    try:
        from tokprune.kernels.fused import launch
    except ImportError:
        return None
    return launch
