"""Arithmetic: floating-point operations of a real call, counted by torch while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from tokprune.bench.flops import counter
from tokprune.bench.speed.stages import watch_stages


def count_flops(model: Any, call: Callable[[], object]) -> dict[str, int]:
    """Stage -> floating-point operations; a multiply-add counts two.

    Counted are matrix products, convolutions and attention (sdpa included, as if nothing were masked). Not counted:
    element-wise operations, sorting, and what a Triton kernel does.
    """
    with _frozen(model), counter() as counted:
        passage = watch_stages(model, call, counted.get_total_flops)
    return passage.stages(lambda begin, end: int(end - begin))


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Without gradients: torch's counter stumbles over parameters that want one."""
    wanting = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in wanting:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanting:
            parameter.requires_grad_(True)
