"""Gains: what pruning can save of a call at most, by arithmetic, and where that is not worth it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tokprune.after import After
from tokprune.bench.arithmetic import TARGETS, Arithmetic
from tokprune.bench.costs import Costs, Workload, shares
from tokprune.bench.promptarithmetic import PromptArithmetic
from tokprune.bench.roofline import Machine
from tokprune.bench.table import keep_text
from tokprune.keep import Keep

WORTH = 1.05
"""A smaller gain is none: votes and the cut itself cost some percent of a short call."""


@dataclass(frozen=True)
class Gain:
    """Unpruned / pruned, for the whole call."""

    targets: tuple[str, ...]
    keep: Keep
    flops: float
    """By FLOPs: what a batch tends to that is large enough to wait for nothing but arithmetic."""
    alone: float
    """By time, at batch 1."""
    batch: float
    """By time, at the large batch."""


@dataclass(frozen=True)
class Gains:
    """What pruning can gain on one model, for one kind of call.

    Args:
        arithmetic: Counts the model's costs.
        targets: What can be pruned; with two of them, both together are looked at too.
        workload: Prompt, answer and beams.
        machine: What times are estimated for.
        batch: The large batch size.
        keeps: Keeps to look at, the smallest last.
        after: Where image tokens leave the image encoder; None for the default.
        stages: Target -> the stage that pruning it makes cheaper.

    Example:
        >>> from tokprune.zoo import load_model
        >>> gains = Gains(Arithmetic(load_model("blip2-shapes")[0]), targets=("query",))
        >>> [f"{gain.keep}: {gain.flops:.2f}" for gain in gains.table()]
        ['0.5: 1.11', '0.25: 1.17', '0.125: 1.20']
    """

    arithmetic: Arithmetic | PromptArithmetic
    targets: tuple[str, ...] = TARGETS
    workload: Workload = field(default_factory=Workload)
    machine: Machine = field(default_factory=Machine)
    batch: int = 32
    keeps: tuple[Keep, ...] = (0.5, 0.25, 0.125)
    after: After | None = None
    stages: Mapping[str, str] = field(default_factory=lambda: Arithmetic.stages)

    def unpruned(self) -> Costs:
        """The costs that all is compared with."""
        return self.arithmetic.count(self.workload)

    def of(self, targets: Sequence[str], keep: Keep) -> Gain:
        """What pruning these targets, each to `keep`, gains."""
        whole = self.unpruned()
        pruned = self.arithmetic.count(
            self.workload,
            query_keep=keep if "query" in targets else None,
            image_keep=keep if "image" in targets else None,
            after=self.after,
        )
        alone, batch = (self._seconds(whole, size) / self._seconds(pruned, size) for size in (1, self.batch))
        return Gain(tuple(targets), keep, whole.total / pruned.total, alone, batch)

    def table(self) -> list[Gain]:
        """Each target at each keep, then both together."""
        both = [self.targets] if len(self.targets) > 1 else []
        return [self.of(targets, keep) for targets in [*((t,) for t in self.targets), *both] for keep in self.keeps]

    def verdicts(self) -> list[str]:
        """Plain sentences about this model: where most is to be gained, and where pruning does not pay."""
        smallest = [gain for gain in self.table() if gain.keep == self.keeps[-1]]
        return [
            self._by_flops([gain for gain in smallest if len(gain.targets) == 1]),
            self._by_time(1, {gain.targets: gain.alone for gain in smallest}),
            self._by_time(self.batch, {gain.targets: gain.batch for gain in smallest}),
        ]

    def _by_flops(self, gains: Sequence[Gain]) -> str:
        parts = shares(self.unpruned().flops)
        said = [
            f"pruning {target} tokens makes the {self.stages[target]} cheaper, {parts[self.stages[target]]:.0%} of the "
            f"arithmetic (at most {gain.flops:.2f}x)"
            for gain in sorted(gains, key=lambda gain: -gain.flops)
            for target in gain.targets
        ]
        return f"By FLOPs, at keep {keep_text(self.keeps[-1])}: {'; '.join(said)}."

    def _by_time(self, batch: int, gains: Mapping[tuple[str, ...], float]) -> str:
        whole = self.unpruned()
        parts, waits = shares(self.machine.seconds(whole, batch)), self.machine.waits_for_memory(whole, batch)
        idle, worth = [], []
        for targets, gain in gains.items():
            name = "both" if len(targets) > 1 else f"{targets[0]} tokens"
            if gain >= WORTH:
                worth.append(f"{name} (at most {gain:.2f}x)")
            elif len(targets) > 1:
                idle.append(f"{name} (at most {gain:.2f}x)")
            else:
                stage = self.stages[targets[0]]
                reads = " and waits for its weights to be read" if waits[stage] else ""
                why = f"the {stage} is {parts[stage]:.0%} of the time{reads}"
                idle.append(f"{name} (at most {gain:.2f}x: {why})")
        said = [f"it does not pay to prune {' or '.join(idle)}"] if idle else []
        said += [f"it can pay to prune {', '.join(worth)}"] if worth else []
        if not worth:
            longest = max(parts, key=lambda stage: parts[stage])
            reads = ", which waits for weights and cache to be read" if waits[longest] else ""
            said.append(f"{parts[longest]:.0%} of the time goes to the {longest}{reads}")
        return f"By time, at batch {batch} and keep {keep_text(self.keeps[-1])}: {'; '.join(said)}."

    def _seconds(self, costs: Costs, batch: int) -> float:
        return sum(self.machine.seconds(costs, batch).values())
