"""Costs: what a call asks of the machine, stage by stage, and what it is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from tokprune.bench.flops import Cost
from tokprune.errors import InvalidValueError


@dataclass(frozen=True)
class Workload:
    """One sample of a `generate` call: an image, a prompt, an answer. The batch size only multiplies it.

    Args:
        text_tokens: Tokens of the prompt without the query tokens' places.
        answer_tokens: Tokens that are generated, all of them.
        beams: Beams of the search; 1 is greedy.

    Raises:
        InvalidValueError: One of them is below 1.
    """

    text_tokens: int = 16
    answer_tokens: int = 10
    beams: int = 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidValueError(f"workload: expected {name} to be an int of at least 1, got {value!r}")


@dataclass(frozen=True)
class Costs:
    """What one sample of a call takes, stage by stage, each stage as the runs that follow one another.

    A stage's FLOPs are the sum over its runs; time is not, because a run can wait for its arithmetic or for its
    weights (`Machine`).
    """

    encoder: tuple[Cost, ...]
    """Image encoder."""
    connector: tuple[Cost, ...]
    """Q-Former and projection."""
    prefill: tuple[Cost, ...]
    """Language model reading query tokens and prompt, and giving the first answer token."""
    decode: tuple[Cost, ...]
    """Every further answer token, one run each."""

    @property
    def stages(self) -> dict[str, tuple[Cost, ...]]:
        """Name -> runs, in order: "image encoder", "connector", "prefill", "decode"."""
        return {
            "image encoder": self.encoder,
            "connector": self.connector,
            "prefill": self.prefill,
            "decode": self.decode,
        }

    @property
    def flops(self) -> dict[str, int]:
        """Name of the stage -> floating-point operations of one sample, all its beams included."""
        return {name: sum(run.flops for run in runs) for name, runs in self.stages.items()}

    @property
    def total(self) -> int:
        """Floating-point operations of one sample, all stages."""
        return sum(self.flops.values())


def shares(values: dict[str, float] | dict[str, int]) -> dict[str, float]:
    """Each value as a part of their sum.

    Example:
        >>> shares({"image encoder": 3, "prefill": 1})
        {'image encoder': 0.75, 'prefill': 0.25}
    """
    whole = sum(values.values())
    return {name: value / whole for name, value in values.items()}
