"""One row of speed: one variant of one model, at one batch size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Self

from tokprune.bench.speed.block import ORACLE, PRUNED, UNPRUNED, Block
from tokprune.bench.speed.quartiles import Quartiles, quartiles
from tokprune.errors import InvalidValueError


@dataclass(frozen=True)
class SpeedRow:
    """What was measured of the unpruned model, a pruned one or the oracle of that, side by side with the others."""

    label: str
    """The policy as it was asked for; all variants of a block have it. `"none"` where nothing was to be pruned."""
    variant: str
    """`"unpruned"`, `"oracle"` or `"pruned"`."""
    batch_size: int
    policies: list[dict[str, Any]]
    """`Policy.to_dict()` of each policy of the block."""
    targets: dict[str, dict[str, Any]]
    """Target -> tokens per image, tokens kept, sequence length before and after, backend that counted the votes."""
    seconds: list[float]
    """Whole `generate` calls, round by round."""
    stages: dict[str, list[float]]
    """encoder, connector, prefill, decode -> seconds, in calls of their own with marks set."""
    steps: int
    """Answer tokens after the first: `decode` is the time of that many."""
    gain: list[float]
    """Unpruned / this, round by round: neighbours in time, so that a slow moment hits both."""
    overhead: list[float]
    """Pruned / oracle, round by round; empty for the other variants."""
    flops: dict[str, int]
    """encoder, connector, prefill, decode -> floating-point operations."""
    peak_memory: int | None
    """Bytes above what lay there before the call (weights, inputs); None if the device cannot tell."""
    weights_memory: int
    """Bytes of all weights."""
    certificate: dict[str, Any]

    @property
    def block(self) -> tuple[int, str]:
        """What was measured side by side has this in common."""
        return self.batch_size, f"{self.label} {self.policies}"

    @property
    def time(self) -> Quartiles:
        """Seconds of the whole call."""
        return quartiles(self.seconds)

    @property
    def token_seconds(self) -> float | None:
        """Median time of each answer token after the first; None if there was one only."""
        return median(self.stages["decode"]) / self.steps if self.steps else None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; carries medians too, for readers that are not Python."""
        derived = {
            "median_seconds": self.time.middle,
            "median_stages": {stage: median(values) for stage, values in self.stages.items()},
            "token_seconds": self.token_seconds,
            "median_gain": median(self.gain),
            "median_overhead": median(self.overhead) if self.overhead else None,
            "total_flops": sum(self.flops.values()),
        }
        return asdict(self) | derived

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The row that `to_dict` wrote; derived numbers are computed anew.

        Raises:
            InvalidValueError: A field is missing.
        """
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        missing = [name for name in cls.__dataclass_fields__ if name not in known]
        if missing:
            raise InvalidValueError(f"row: not a row of speed (no {', '.join(missing)})")
        return cls(**known)


def rows_of(
    block: Block, label: str, batch_size: int, weights_memory: int, certificate: dict[str, Any]
) -> list[SpeedRow]:
    """The rows of a block, one per variant."""
    seconds = {name: measured.seconds for name, measured in block.variants.items()}
    return [
        SpeedRow(
            label=label,
            variant=name,
            batch_size=batch_size,
            policies=[choice.policy.to_dict() for choice in block.choices.values()],
            targets=_targets(block),
            seconds=measured.seconds,
            stages=measured.stages,
            steps=measured.steps,
            gain=_quotients(seconds[UNPRUNED], measured.seconds),
            overhead=_quotients(measured.seconds, seconds[ORACLE]) if name == PRUNED else [],
            flops=measured.flops,
            peak_memory=measured.peak_memory,
            weights_memory=weights_memory,
            certificate=certificate,
        )
        for name, measured in block.variants.items()
    ]


def _targets(block: Block) -> dict[str, dict[str, Any]]:
    return {
        target: {
            "tokens": choice.report.kept.shape[1],
            "kept": float(choice.report.counts.float().mean()),
            "length_before": choice.report.length_before,
            "length_after": choice.report.length_after,
            "backend": choice.report.backend,
        }
        for target, choice in block.choices.items()
    }


def _quotients(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]
