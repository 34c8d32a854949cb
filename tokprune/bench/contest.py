"""The contest: the unpruned model first, then every policy, on the same samples; each row is stored as it is done."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from tokprune.adapters.upstream import IMAGE_SIZES
from tokprune.apply import apply
from tokprune.bench.accuracy import paired_p_value
from tokprune.bench.answering import batches, prepare
from tokprune.bench.blind import blind
from tokprune.bench.certificate import Certificate
from tokprune.bench.measure import Examination, Measurement, measure
from tokprune.bench.row import BLIND, UNPRUNED, Row, Tokens
from tokprune.bench.store import RowStore
from tokprune.defaults import with_defaults
from tokprune.fit import bound_to, choose_target
from tokprune.handle import Handle
from tokprune.policy import Policy


@dataclass(frozen=True)
class Contestant:
    """What one row is about: a policy, several together, or none (the unpruned and the blind model).

    Args:
        label: What tables call it.
        policy: A policy; a tuple of them, one per target, also of one alone; or None.
    """

    label: str
    policy: Policy | tuple[Policy, ...] | None = None

    @property
    def policies(self) -> tuple[Policy, ...]:
        """What is put on the model."""
        return (self.policy,) if isinstance(self.policy, Policy) else self.policy or ()

    def on(self, model: nn.Module) -> Contestant:
        """The same with the model's default scorer where a policy names none, as rows hold it."""
        whole = tuple(with_defaults(model, policy) for policy in self.policies)
        return replace(self, policy=whole[0] if isinstance(self.policy, Policy) else self.policy and whole)

    @property
    def written(self) -> dict[str, Any] | list[dict[str, Any]] | None:
        """The policy as rows hold it."""
        if self.policy is None:
            return None
        return self.policy.to_dict() if isinstance(self.policy, Policy) else [p.to_dict() for p in self.policy]

    @property
    def key(self) -> str:
        """Equal for a contestant and the row that was measured of it."""
        return _key(self.label, self.written)

    @staticmethod
    def key_of(row: Row) -> str:
        """The key of the contestant that a row was measured of."""
        return _key(row.label, row.policy)


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
    contestants = [contestant.on(model) for contestant in contestants]
    field = [Contestant(UNPRUNED), *([Contestant(BLIND)] if with_blind else []), *contestants]
    stored = {Contestant.key_of(row): row for row in store.rows}
    for contestant in field:
        if contestant.key not in stored:
            with _stage(model, contestant):
                pass
    everything = _target_tokens(model, examination, field)
    rows: list[Row] = []
    for number, contestant in enumerate(field, start=1):
        row = stored.get(contestant.key)
        measured = row is None
        if row is None:
            watcher.row_started(contestant.label, number, len(field))
            row = _measure(model, examination, contestant, everything, rows[0] if rows else None, store, watcher)
            store.append(row)
        elif contestant.policy is None:  # may have been measured beside policies for other targets
            row = replace(row, tokens=everything, tokens_kept=everything)
        rows.append(row)
        watcher.row_done(row, measured)
    return rows


def _measure(
    model: nn.Module,
    examination: Examination,
    contestant: Contestant,
    everything: Tokens,
    unpruned: Row | None,
    store: RowStore[Row, Certificate],
    watcher: Watcher,
) -> Row:
    with _stage(model, contestant) as handles:
        got = measure(model, examination, handles or (), watcher.samples_done)
    policy, samples = contestant.policy, len(got.outcomes)
    tokens, tokens_kept = _counts(got, policy) if policy else (everything, everything)
    alone = policy if isinstance(policy, Policy) else None
    length = None if got.length is None else got.length / samples
    return Row(
        label=contestant.label,
        keep=alone.keep if alone else None,
        positions=alone.positions if alone else None,
        policy=contestant.written,
        tokens=tokens,
        tokens_kept=tokens_kept,
        length_before=unpruned.length_after if unpruned else length,
        length_after=length,
        outcomes=got.outcomes,
        kinds=got.kinds,
        p_value=paired_p_value(got.outcomes, unpruned.outcomes) if unpruned else None,
        seconds=got.seconds,
        certificate=store.certificate.to_dict(),
        word_errors=got.word_errors or None,
    )


def _stage(model: nn.Module, contestant: Contestant) -> AbstractContextManager[Sequence[Handle] | None]:
    if contestant.policies:
        return apply(model, contestant.policies)
    return blind(model) if contestant.label == BLIND else nullcontext()


def _counts(got: Measurement, policy: Policy | tuple[Policy, ...]) -> tuple[Tokens, Tokens]:
    """Target tokens per image before pruning, and kept."""
    if isinstance(policy, Policy):
        return got.tokens.total() / got.images, got.tokens_kept.total() / got.images
    before, kept = ({t: n / got.images for t, n in each.items()} for each in (got.tokens, got.tokens_kept))
    return before, kept


@torch.inference_mode()
def _target_tokens(model: nn.Module, examination: Examination, contestants: Sequence[Contestant]) -> Tokens:
    """Target tokens per image of the unpruned model, told by cuts that keep them all.

    A number if the policies are about one target, each alone; else by target.
    """
    bound = bound_to(model)
    named = [policy.target for contestant in contestants for policy in contestant.policies] or [None]
    targets = dict.fromkeys(choose_target(bound, target) for target in named)
    got = Measurement()
    with apply(model, [Policy("first", keep=1.0, target=target) for target in targets]) as handles:
        for batch in batches(examination.samples, examination.batch_size):
            inputs = prepare(model, examination.processor, batch, examination.template)
            model.generate(**inputs, max_new_tokens=1, do_sample=False)  # type: ignore[operator]
            got.add_reports(handles)
            if not any(name in inputs for name in IMAGE_SIZES):
                break  # all images have as many tokens
    counts = {target: tokens / got.images for target, tokens in got.tokens.items()}
    alone = len(counts) == 1 and not any(isinstance(contestant.policy, tuple) for contestant in contestants)
    return next(iter(counts.values())) if alone else counts


def _key(label: str, policy: dict[str, Any] | list[dict[str, Any]] | None) -> str:
    # A field that is None says no more than one that is absent, as in rows of the time before the field.
    def fields(one: dict[str, Any]) -> list[tuple[str, Any]]:
        return sorted((name, value) for name, value in one.items() if value is not None)

    written = [fields(one) for one in policy] if isinstance(policy, list) else fields(policy) if policy else ""
    return f"{label} {written}"
