"""How a check fails: the example that breaks a law, in words and short numbers."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class Violation(Exception):
    """A component broke the law that is being checked; the message shows the example."""


def shown(value: object, limit: int = 160) -> str:
    """A value for a message: tensors as short nested lists."""
    if not isinstance(value, Tensor):
        return f"{value!r}"[:limit]
    text = str([_rounded(v) for v in value.tolist()] if value.dim() else _rounded(value.item()))
    return text if len(text) <= limit else f"{text[:limit]}... (shape {tuple(value.shape)})"


def same(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors have one shape and one content, bit for bit."""
    return found.shape == expected.shape and bool((found == expected).all())


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether two tensors agree up to `tolerance`, relative to the largest expected number."""
    if found.shape != expected.shape:
        return False
    found, expected = found.double(), expected.double()
    scale = expected.abs().max().clamp(min=1e-30) if expected.numel() else 1.0
    return bool(((found - expected).abs() <= tolerance * scale).all())


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
