"""The contest: the unpruned model first, then every policy, on the same samples; each row is stored as it is done."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from tokprune.apply import apply
from tokprune.bench.accuracy import paired_p_value
from tokprune.bench.answering import prepare
from tokprune.bench.blind import blind
from tokprune.bench.certificate import Certificate
from tokprune.bench.measure import Examination, measure
from tokprune.bench.row import BLIND, UNPRUNED, Row
from tokprune.bench.store import RowStore
from tokprune.handle import Handle
from tokprune.policy import Policy


@dataclass(frozen=True)
class Contestant:
    """What one row is about: a policy, or no policy (the unpruned and the blind model), and what tables call it."""

    label: str
    policy: Policy | None = None

    @property
    def key(self) -> str:
        """Equal for a contestant and the row that was measured of it."""
        return _key(self.label, self.policy.to_dict() if self.policy else None)


class Watcher:
    """Hears how far a contest is. This one does nothing; subclasses draw progress bars."""

    def row_started(self, label: str, number: int, total: int) -> None:
        """Row `number` (from 1) of `total` is about to be measured."""

    def samples_done(self, count: int) -> None:
        """`count` more samples of the row were answered."""

    def row_done(self, row: Row, measured: bool) -> None:
        """A row is there: measured just now, or found in the store."""


def hold_contest(
    model: nn.Module,
    examination: Examination,
    contestants: Sequence[Contestant],
    store: RowStore[Row, Certificate],
    *,
    with_blind: bool = True,
    watcher: Watcher | None = None,
) -> list[Row]:
    """The rows of the unpruned model, the blind one if wanted, and every contestant, in this order.

    Rows that are in `store` are taken from there; the others are measured and stored at once, so a contest that was
    killed goes on where it stopped. The model is left unpruned.

    Raises:
        TokpruneError: A policy does not fit the model. Found out before anything is measured.
    """
    watcher = watcher or Watcher()
    field = [Contestant(UNPRUNED), *([Contestant(BLIND)] if with_blind else []), *contestants]
    stored = {_key(row.label, row.policy): row for row in store.rows}
    for contestant in field:
        if contestant.key not in stored:
            with _stage(model, contestant):
                pass
    rows: list[Row] = []
    for number, contestant in enumerate(field, start=1):
        row = stored.get(contestant.key)
        measured = row is None
        if row is None:
            watcher.row_started(contestant.label, number, len(field))
            row = _measure(model, examination, contestant, rows[0] if rows else None, store, watcher)
            store.append(row)
        rows.append(row)
        watcher.row_done(row, measured)
    return rows


def _measure(
    model: nn.Module,
    examination: Examination,
    contestant: Contestant,
    unpruned: Row | None,
    store: RowStore[Row, Certificate],
    watcher: Watcher,
) -> Row:
    with _stage(model, contestant) as handle:
        got = measure(model, examination, handle, watcher.samples_done)
    policy, samples = contestant.policy, len(got.outcomes)
    if policy is not None:
        tokens, tokens_kept = got.tokens / got.images, got.tokens_kept / got.images
    else:
        tokens = tokens_kept = unpruned.tokens if unpruned else _target_tokens(model, examination)
    return Row(
        label=contestant.label,
        keep=policy.keep if policy else None,
        positions=policy.positions if policy else None,
        policy=policy.to_dict() if policy else None,
        tokens=tokens,
        tokens_kept=tokens_kept,
        length_before=got.length_before / samples,
        length_after=got.length_after / samples,
        outcomes=got.outcomes,
        kinds=got.kinds,
        p_value=paired_p_value(got.outcomes, unpruned.outcomes) if unpruned else None,
        seconds=got.seconds,
        certificate=store.certificate.to_dict(),
    )


def _stage(model: nn.Module, contestant: Contestant) -> AbstractContextManager[Handle | None]:
    if contestant.policy is not None:
        return apply(model, contestant.policy)
    return blind(model) if contestant.label == BLIND else nullcontext()


@torch.inference_mode()
def _target_tokens(model: nn.Module, examination: Examination) -> float:
    """Target tokens per image of the unpruned model, told by a cut that keeps them all."""
    inputs = prepare(model, examination.processor, [examination.samples[0]], examination.template)
    with apply(model, scorer="first", keep=1.0) as handle:
        model.generate(**inputs, max_new_tokens=1, do_sample=False)  # type: ignore[operator]
        report = handle.report
    return float(report.kept.shape[1]) if report else 0.0


def _key(label: str, policy: dict[str, object] | None) -> str:
    return f"{label} {sorted(policy.items()) if policy else ''}"
