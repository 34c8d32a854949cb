"""A block: one batch, the unpruned model, one way of pruning it, and the oracle of that, measured side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tokprune.apply import apply
from tokprune.bench.oracle import new_tokens
from tokprune.bench.parts import parts_of
from tokprune.bench.speed.choices import Choice, recorded
from tokprune.bench.speed.clock import Clock
from tokprune.bench.speed.flopcount import count_flops
from tokprune.bench.speed.memory import peak_memory
from tokprune.bench.speed.stages import watch_stages
from tokprune.bench.speed.turns import in_turns
from tokprune.bench.speed.yardstick import oracle_of
from tokprune.errors import InvalidValueError
from tokprune.policy import Policy

UNPRUNED, ORACLE, PRUNED = "unpruned", "oracle", "pruned"

STAGED_ROUNDS = 5
"""In how many rounds, at most, the stages are told apart."""


@dataclass(frozen=True)
class Settings:
    """How a block is measured.

    Args:
        max_new_tokens: Answer tokens of every sample, no fewer and no more.
        beams: Beams of the search; 1 is greedy.
        repeats: Measured calls of each variant.
        warm_up: Calls of each before, besides the two that count arithmetic and memory.
    """

    max_new_tokens: int = 10
    beams: int = 1
    repeats: int = 20
    warm_up: int = 2

    def __post_init__(self) -> None:
        for name, least in (("max_new_tokens", 1), ("beams", 1), ("repeats", 1), ("warm_up", 0)):
            if getattr(self, name) < least:
                raise InvalidValueError(f"speed: {name} must be at least {least}, got {getattr(self, name)}")

    @property
    def staged_rounds(self) -> int:
        """Rounds in which the stages are told apart."""
        return min(STAGED_ROUNDS, self.repeats)

    @property
    def rounds(self) -> int:
        """Calls of each variant in all: arithmetic, memory, warm-up, whole calls, stages."""
        return 2 + self.warm_up + self.repeats + self.staged_rounds

    @property
    def generation(self) -> dict[str, Any]:
        """What `generate` is told."""
        count = self.max_new_tokens
        return {"max_new_tokens": count, "min_new_tokens": count, "num_beams": self.beams, "do_sample": False}


@dataclass
class Measured:
    """What was measured of one variant."""

    seconds: list[float] = field(default_factory=list)
    """Whole calls, one per round."""
    stages: dict[str, list[float]] = field(default_factory=dict)
    """Stage -> seconds, of calls of their own in which marks were set."""
    steps: int = 0
    """Forward passes of the language model after the first."""
    flops: dict[str, int] = field(default_factory=dict)
    """Stage -> floating-point operations."""
    peak_memory: int | None = None
    """Bytes above what lay there before the call; None if the device cannot tell."""


@dataclass(frozen=True)
class Block:
    """What was measured of all variants, in turns."""

    variants: Mapping[str, Measured]
    choices: Mapping[str, Choice]
    """Target -> what was kept; empty without policies."""


@dataclass(frozen=True)
class _Variant:
    name: str
    call: Callable[[], Tensor]
    stage: Callable[[], AbstractContextManager[Any]] = nullcontext


def measure_block(
    model: Any,
    inputs: Mapping[str, Tensor],
    policies: Sequence[Policy],
    settings: Settings,
    clock: Clock,
    call_done: Callable[[], object] = lambda: None,
) -> Block:
    """Measures `generate` unpruned, by the oracle, and pruned; without policies, unpruned alone.

    Policies are put on before each pruned call and taken off after it, outside the measured time, so that one model in
    memory serves all.

    Args:
        model: A model whose parts are known, not pruned.
        inputs: What its `generate` takes.
        policies: What to prune, one per target.
        settings: How often, how long.
        clock: What tells the time.
        call_done: Called after every call, for progress bars.

    Raises:
        AdapterError: The model's parts are not known, or a policy does not fit it.
        InvalidValueError: The oracle's answer is not the pruned model's: then it is no yardstick.
    """
    parts_of(model)
    options = settings.generation

    def generate() -> Tensor:
        generated: Tensor = model.generate(**inputs, **options)
        return generated

    variants = [_Variant(UNPRUNED, generate)]
    choices: dict[str, Choice] = {}
    if policies:
        answer, choices, places = recorded(model, policies, generate)
        handed = oracle_of(model, inputs, choices, places)

        def oracle() -> Tensor:
            return handed(**options)

        _check_same(oracle(), new_tokens(model, inputs, answer), policies)
        variants += [_Variant(ORACLE, oracle), _Variant(PRUNED, generate, lambda: apply(model, list(policies)))]
    return Block(_measure(model, variants, settings, clock, call_done), choices)


def _check_same(oracle: Tensor, pruned: Tensor, policies: Sequence[Policy]) -> None:
    if not torch.equal(oracle, pruned):
        differing = int((oracle != pruned).any(dim=1).sum()) if oracle.shape == pruned.shape else len(pruned)
        raise InvalidValueError(
            f"oracle: answers {differing} of {len(pruned)} samples differently from the model pruned by "
            f"{list(policies)}, so it is no yardstick; the arithmetic differs between two calls, or a policy does "
            "something that the oracle does not know"
        )


def _measure(
    model: Any, variants: Sequence[_Variant], settings: Settings, clock: Clock, call_done: Callable[[], object]
) -> dict[str, Measured]:
    found = {variant.name: Measured() for variant in variants}
    device = next(model.parameters()).device

    def arithmetic(variant: _Variant) -> None:
        found[variant.name].flops = count_flops(model, variant.call)

    def memory(variant: _Variant) -> None:
        found[variant.name].peak_memory = peak_memory(variant.call, device)

    def warm_up(variant: _Variant) -> None:
        variant.call()

    def whole(variant: _Variant) -> None:
        clock.settle()
        begin = clock.mark()
        variant.call()
        end = clock.mark()
        found[variant.name].seconds.append(clock.seconds(begin, end))

    def staged(variant: _Variant) -> None:
        clock.settle()
        passage = watch_stages(model, variant.call, clock.mark)
        found[variant.name].steps = passage.steps
        for stage, seconds in passage.stages(clock.seconds).items():
            found[variant.name].stages.setdefault(stage, []).append(seconds)

    plan = [
        (arithmetic, 1),
        (memory, 1),
        (warm_up, settings.warm_up),
        (whole, settings.repeats),
        (staged, settings.staged_rounds),
    ]
    for act, rounds in plan:
        for variant in in_turns(variants, rounds):
            with variant.stage():
                act(variant)
            call_done()
    return found
