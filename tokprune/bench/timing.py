"""Timing: the unpruned model, the oracle and the pruned model, in turns, so that a slow moment hits all three."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.apply import apply
from tokprune.bench.oracle import kept_rows, new_tokens, oracle_generate
from tokprune.errors import InvalidValueError
from tokprune.policy import Policy


@dataclass(frozen=True)
class Times:
    """Seconds per call, one entry per repeat, all measured in turns."""

    unpruned: list[float]
    oracle: list[float]
    pruned: list[float]
    tokens: int
    """Query tokens per image before pruning."""
    tokens_kept: int
    """Query tokens per image that stay."""

    @property
    def overhead(self) -> list[float]:
        """Pruned / oracle, repeat by repeat: neighbours in time, so that a slow moment hits both."""
        return [p / o for p, o in zip(self.pruned, self.oracle, strict=True)]

    @property
    def gain(self) -> list[float]:
        """Unpruned / pruned, repeat by repeat."""
        return [u / p for u, p in zip(self.unpruned, self.pruned, strict=True)]


@torch.inference_mode()
def measure_overhead(
    model: Any,
    inputs: Mapping[str, Tensor],
    policy: Policy,
    *,
    repeats: int = 30,
    warm_up: int = 3,
    max_new_tokens: int = 3,
    repeat_done: Callable[[], object] = lambda: None,
) -> Times:
    """Times `generate` (greedy, always `max_new_tokens` long) unpruned, by the oracle, and pruned.

    Args:
        model: A BLIP-2-like model, not pruned.
        inputs: What its `generate` takes.
        policy: How to prune.
        repeats: Measured calls of each.
        warm_up: Calls of each before the first measured one.
        max_new_tokens: Answer tokens of every sample.
        repeat_done: Called after every measured repeat, for progress bars.

    Raises:
        InvalidValueError: The oracle's answer is not the pruned model's: then it is no yardstick.
    """
    options = {"max_new_tokens": max_new_tokens, "min_new_tokens": max_new_tokens, "do_sample": False}
    with apply(model, policy) as handle:
        pruned_answer = new_tokens(model, inputs, model.generate(**inputs, **options))
        report = handle.report
    if report is None:
        raise InvalidValueError("overhead: nothing was pruned; is the model compiled?")
    kept = report.kept
    rows = kept_rows(inputs["input_ids"], kept, model.config.image_token_id)

    def unpruned() -> Tensor:
        generated: Tensor = model.generate(**inputs, **options)
        return generated

    def oracle() -> Tensor:
        return oracle_generate(model, inputs, rows, positions=policy.positions, **options)

    if not torch.equal(oracle(), pruned_answer):
        raise InvalidValueError(f"overhead: the oracle answers differently under {policy}; use reduction 'prune'")
    seconds: dict[str, list[float]] = {"unpruned": [], "oracle": [], "pruned": []}
    for repeat in range(-warm_up, repeats):
        taken = {"unpruned": _seconds(unpruned, model), "oracle": _seconds(oracle, model)}
        with apply(model, policy):
            taken["pruned"] = _seconds(unpruned, model)
        if repeat >= 0:
            for name, value in taken.items():
                seconds[name].append(value)
            repeat_done()
    return Times(**seconds, tokens=kept.shape[1], tokens_kept=int(kept[0].sum()))


def _seconds(call: Callable[[], object], model: nn.Module) -> float:
    device = next(model.parameters()).device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin
