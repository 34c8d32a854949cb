"""What output pruning does wherever it happens: observe, choose, reduce, carry on, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.attached import Attached
from tokprune.adapters.calls import Observation
from tokprune.adapters.capture import Capture
from tokprune.adapters.reducing import reduce_tokens
from tokprune.adapters.wording import at_target
from tokprune.functional import kept_index
from tokprune.functional.chunks import is_traced
from tokprune.interfaces import Choice, Observed
from tokprune.signal import ATTENTION_NAMES, ENCODER_VECTORS, Signal


@dataclass(kw_only=True)
class Output(Observation):
    """One call whose output is pruned, in one stage or several."""

    grid: tuple[int, int] | None = None
    choices: list[Choice] = field(default_factory=list)
    alive: Tensor | None = None
    """Which of the original target tokens are left, int `[image token]`; None while all are."""
    sizes: Tensor | None = None
    """How many tokens each of those stands for, `[image token]`; None while nothing was merged."""


class OutputPruning(Attached):
    """Prunes the tokens that a module gives; which module, and when, is up to those that inherit."""

    protected = 0
    """How many tokens at the front always stay."""
    capture: Capture

    @property
    def where(self) -> str:
        """The adapter and the target, for messages."""
        family: Any = self.family  # type: ignore[attr-defined]
        return at_target(family.name, self.cut)

    def _signal(self, call: Output, tokens: Tensor, layers: Mapping[str, Sequence[int]]) -> Signal:
        """What was observed of `tokens` `[image token dim]`; of attention, in these layers of each signal."""
        needs = self.cut.needs
        found: dict[str, Any] = {
            name: self.capture.layer_votes(call, name, layers[name]) for name in ATTENTION_NAMES if name in needs
        }
        found |= {
            name: self.capture.vectors_of(call, name)[:, self.protected :]
            for name in ENCODER_VECTORS[1:]
            if name in needs
        }
        if "encoder_features" in needs:
            found["encoder_features"] = tokens.detach()
        if "tokens" in needs:
            found["tokens"] = tokens.detach()
        if "grid" in needs:
            found["grid"] = call.grid
        return Signal(**found, shape=(tokens.shape[0], tokens.shape[1]), source=self.where)

    def _shorter(self, call: Output, hidden: Tensor, choice: Choice, signal: Signal, count: int) -> Tensor:
        """`hidden` `[image token dim]` with the protected tokens and the `count` that stay of each image."""
        tokens = unprotected(hidden, self.protected)
        if count == tokens.shape[1]:
            return hidden
        tokens, sizes = reduce_tokens(self.cut.reduction, tokens, choice, signal, call.sizes)
        stays = kept_index(choice.kept.to(hidden.device), count)
        call.alive = stays if call.alive is None else call.alive.gather(1, stays)
        call.sizes = None if sizes is None else sizes.gather(1, stays)
        tokens = tokens.gather(1, stays[..., None].expand(-1, -1, hidden.shape[-1]))
        return torch.cat([hidden[:, : self.protected], tokens], dim=1)

    def _report(self, call: Output, length: int) -> None:
        """Report what was done to the tokens that there were before the first stage; `length` of them go on."""
        first = call.choices[0].kept
        kept, sizes = first, None
        if call.alive is not None:
            alive = call.alive.to(first.device)
            kept = torch.zeros_like(first).scatter(1, alive, torch.ones_like(alive, dtype=torch.bool))
            if call.sizes is not None:
                sizes = torch.zeros_like(first, dtype=torch.float32).scatter(1, alive, call.sizes.to(first.device))
        self.done(Observed(kept, first.shape[1] + self.protected, length, sizes, tuple(call.choices)))


def unprotected(hidden: Tensor, protected: int) -> Tensor:
    """The target tokens of `hidden` `[image token dim]`."""
    tokens = hidden[:, protected:]
    if is_traced():  # what is recorded is right for as many tokens only: it shall fail with others
        tokens = tokens.reshape(tokens.shape[0], int(tokens.shape[1]), tokens.shape[2])
    return tokens
