"""Stages of one `generate` call: encoder, connector, prefill, decoding.

A stage ends where the next begins, so the four add up to the whole call. What pruning itself does is part of the stage
in which it happens: tokens that leave inside the encoder are scored and cut in `encoder`; tokens that leave in front of
the language model, or in it, in `prefill`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

from tokprune.bench.parts import parts_of
from tokprune.errors import UnsupportedCallError

STAGES = ("encoder", "connector", "prefill", "decode")


@dataclass(frozen=True)
class Passage:
    """The marks that were set on the way through one call."""

    marks: tuple[Any, ...]
    """Five: where the call begins, and where each stage ends."""
    steps: int
    """Forward passes of the language model after the first: one per further answer token."""

    def stages(self, between: Callable[[Any, Any], Any]) -> dict[str, Any]:
        """Stage -> what `between` makes of its two marks, in the order of `STAGES`."""
        return {stage: between(*borders) for stage, borders in zip(STAGES, pairwise(self.marks), strict=True)}


def watch_stages(model: Any, call: Callable[[], object], mark: Callable[[], Any]) -> Passage:
    """Calls `call`, which makes `model` generate once, and sets a mark at each border between stages.

    Args:
        model: A model whose parts are known.
        call: Runs the model's parts once, by `generate` or by hand.
        mark: Gives a mark, such as a time or a count so far.

    Raises:
        AdapterError: The model's parts are not known.
        UnsupportedCallError: A part was not called as a module, as in a compiled model.
    """
    parts = parts_of(model)
    found: dict[str, Any] = {}
    passes = 0

    def encoded(module: nn.Module, args: Any) -> None:
        found["encoder"] = mark()

    def connected(module: nn.Module, args: Any, output: Any) -> None:
        found["connector"] = mark()

    def read(module: nn.Module, args: Any, output: Any) -> None:
        nonlocal passes
        passes += 1
        if passes == 1:
            found["prefill"] = mark()

    hooks = [
        parts.begins.register_forward_pre_hook(encoded),
        parts.connected.register_forward_hook(connected),
        parts.reader.register_forward_hook(read),
    ]
    begin = mark()
    try:
        call()
        found["decode"] = mark()
    finally:
        for hook in hooks:
            hook.remove()
    unseen = [stage for stage in STAGES if stage not in found]
    if unseen:
        raise UnsupportedCallError(
            f"speed: the end of stage {', '.join(unseen)} was not seen; is the model compiled? Measure it uncompiled"
        )
    return Passage((begin, *(found[stage] for stage in STAGES)), passes - 1)
