"""A run: every way of pruning at every batch size, block by block; each block is stored as it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tokprune.apply import apply
from tokprune.bench.randominputs import random_inputs
from tokprune.bench.speed.block import ORACLE, PRUNED, UNPRUNED, Settings, measure_block
from tokprune.bench.speed.certificate import SpeedCertificate
from tokprune.bench.speed.clock import Clock
from tokprune.bench.speed.row import SpeedRow, rows_of
from tokprune.bench.store import RowStore
from tokprune.errors import InvalidValueError
from tokprune.policy import Policy


@dataclass(frozen=True)
class Entry:
    """One way of pruning, and what tables call it; no policies mean the unpruned model alone."""

    label: str
    policies: tuple[Policy, ...] = ()

    @property
    def variants(self) -> tuple[str, ...]:
        """The rows that a block of it has."""
        return (UNPRUNED, ORACLE, PRUNED) if self.policies else (UNPRUNED,)

    def block(self, batch_size: int) -> tuple[int, str]:
        """Equal to `SpeedRow.block` of rows that were measured of it."""
        return batch_size, f"{self.label} {[policy.to_dict() for policy in self.policies]}"


class Listener:
    """Hears how far a run is. This one does nothing; subclasses draw progress bars."""

    def block_started(self, entry: Entry, batch_size: int, calls: int) -> None:
        """A block of that many calls is about to be measured."""

    def call_done(self) -> None:
        """One call of the block is done."""

    def block_done(self, rows: Sequence[SpeedRow], measured: bool) -> None:
        """The rows of a block are there: measured just now, or found in the store."""


def run_speed(
    model: Any,
    entries: Sequence[Entry],
    batch_sizes: Sequence[int],
    settings: Settings,
    clock: Clock,
    store: RowStore[SpeedRow, SpeedCertificate],
    listener: Listener | None = None,
) -> list[SpeedRow]:
    """The rows of every entry at every batch size, batch size by batch size.

    Blocks that are complete in `store` are taken from there; the others are measured and stored at once, so a run that
    was killed goes on where it stopped. The model is left unpruned.

    Args:
        model: A model whose parts are known, not pruned.
        entries: What to measure.
        batch_sizes: Samples per call.
        settings: How often, how long.
        clock: What tells the time.
        store: Where rows go; its certificate says seed and length of the prompts.
        listener: Hears how far it is.

    Raises:
        TokpruneError: A policy does not fit the model. Found out before anything is measured.
        InvalidValueError: The device has not enough memory for a batch size.
    """
    listener = listener or Listener()
    for entry in entries:
        if entry.policies:
            apply(model, list(entry.policies)).remove()
    stored = _complete_blocks(store.rows)
    found: list[SpeedRow] = []
    for batch_size in batch_sizes:
        for entry in entries:
            rows = stored.get(entry.block(batch_size), {})
            measured = not set(entry.variants) <= set(rows)
            if measured:
                calls = settings.rounds * len(entry.variants)
                listener.block_started(entry, batch_size, calls)
                rows = dict(_measure(model, entry, batch_size, settings, clock, store, listener))
                store.extend(list(rows.values()))
            found += [rows[variant] for variant in entry.variants]
            listener.block_done([rows[variant] for variant in entry.variants], measured)
    return found


def _complete_blocks(rows: Sequence[SpeedRow]) -> dict[tuple[int, str], dict[str, SpeedRow]]:
    """Block -> variant -> row; of a block that was measured again after a kill, the later rows."""
    blocks: dict[tuple[int, str], dict[str, SpeedRow]] = {}
    for row in rows:
        blocks.setdefault(row.block, {})[row.variant] = row
    return blocks


def _measure(
    model: Any,
    entry: Entry,
    batch_size: int,
    settings: Settings,
    clock: Clock,
    store: RowStore[SpeedRow, SpeedCertificate],
    listener: Listener,
) -> Mapping[str, SpeedRow]:
    certificate = store.certificate
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    try:
        inputs = random_inputs(model, batch_size, certificate.prompt_tokens, certificate.seed)
        block = measure_block(model, inputs, entry.policies, settings, clock, listener.call_done)
    except torch.OutOfMemoryError as error:
        raise InvalidValueError(
            f"batch size {batch_size}: {str(error).split('. ')[0]}. Rows measured so far are kept; leave this batch "
            "size out, or give the device a smaller model"
        ) from error
    rows = rows_of(block, entry.label, batch_size, weights, certificate.to_dict())
    return {row.variant: row for row in rows}
