"""The training loop shared by all stages: warm-up and cosine, progress, checkpoints, resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor, nn

Loss = Callable[[torch.Generator], tuple[Tensor, float]]
"""Draws a batch with the generator given and returns its loss and its accuracy."""


def lazily(make: Callable[[], Loss]) -> Loss:
    """A loss that is made when it is first asked for: a finished stage needs no data."""
    made = cache(make)
    return lambda generator: made()(generator)


REPORT_EVERY = 200
"""Steps between two lines that stay on the screen (or in a log)."""


@dataclass(frozen=True)
class Stage:
    """One stage of the training: what learns, from which loss, for how long."""

    name: str
    learning: nn.Module
    loss: Loss
    steps: int
    learning_rate: float
    seed: int

    def rate(self, step: int) -> float:
        """The learning rate: up over 3% of the steps, then down a cosine to 2% of the top."""
        warm = max(1, self.steps * 3 // 100)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warm) / (self.steps - warm))))


@dataclass
class Outcome:
    """Where a stage stands: steps done, seconds spent (over all runs), running means of loss and accuracy."""

    step: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    accuracy: float = math.nan
    probe_loss: float = math.nan
    """The loss where the stage was first told to stop early."""


def run_stage(
    stage: Stage, folder: Path, progress: Progress, until: int | None = None, save_every: float = 120.0
) -> Outcome:
    """Trains to step `until` (default: the last); goes on from the checkpoint `NAME.pt` in `folder` if there is one.

    Batches depend on seed, stage and step alone, so an interrupted training ends where an uninterrupted one would.
    """
    until = stage.steps if until is None else min(until, stage.steps)
    path = folder / f"{stage.name}.pt"
    optimizer = torch.optim.AdamW(
        stage.learning.parameters(), lr=stage.learning_rate, weight_decay=0.02, betas=(0.9, 0.98)
    )
    outcome = _restore(path, stage.learning, optimizer)
    task = progress.add_task(stage.name, total=until, completed=outcome.step)
    stage.learning.train()
    started = saved = time.monotonic()
    before = outcome.seconds
    while outcome.step < until:
        for group in optimizer.param_groups:
            group["lr"] = stage.rate(outcome.step)
        generator = torch.Generator().manual_seed(stage.seed * 1_000_003 + outcome.step)
        loss, accuracy = stage.loss(generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(stage.learning.parameters(), 1.0)
        optimizer.step()
        outcome.step += 1
        outcome.loss = _running(outcome.loss, loss.item())
        outcome.accuracy = _running(outcome.accuracy, accuracy)
        now = time.monotonic()
        outcome.seconds = before + now - started
        if outcome.step == until < stage.steps:
            outcome.probe_loss = outcome.loss
        if now - saved > save_every or outcome.step == until:
            _save(path, stage.learning, optimizer, outcome)
            saved = now
        standing = f"{stage.name}: loss {outcome.loss:.3f}, accuracy {outcome.accuracy:.3f}"
        progress.update(task, advance=1, description=standing)
        if outcome.step % REPORT_EVERY == 0:
            progress.console.print(f"{standing} after {outcome.step} of {stage.steps} steps, {outcome.seconds:.0f} s")
    stage.learning.eval()
    return outcome


def _running(mean: float, value: float) -> float:
    return value if math.isnan(mean) else 0.98 * mean + 0.02 * value


def _save(path: Path, learning: nn.Module, optimizer: torch.optim.Optimizer, outcome: Outcome) -> None:
    state: dict[str, Any] = {
        "learning": learning.state_dict(),
        "optimizer": optimizer.state_dict(),
        "outcome": vars(outcome),
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _restore(path: Path, learning: nn.Module, optimizer: torch.optim.Optimizer) -> Outcome:
    if not path.exists():
        return Outcome()
    state = torch.load(path, map_location="cpu", weights_only=True)
    learning.load_state_dict(state["learning"])
    optimizer.load_state_dict(state["optimizer"])
    return Outcome(**state["outcome"])
