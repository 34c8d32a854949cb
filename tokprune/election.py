"""One election: signal -> votes -> scores -> kept, by a policy, with every step checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError, brief
from tokprune.interfaces import Aggregator, Scorer, Selector
from tokprune.keep import Keep, keep_count
from tokprune.noting import noting
from tokprune.policy import Policy
from tokprune.signal import Signal
from tokprune.votes import Votes


def hold_election(policy: Policy, signal: Signal, keep: Keep | None = None) -> tuple[Tensor, Tensor]:
    """Kept tokens (bool) and their scores (float), both `[batch token]`.

    What a component raises gets a note with its name and what it was given.

    Args:
        policy: who scores, adds and selects.
        signal: what was observed.
        keep: what stays, if not the policy's own keep.

    Raises:
        InvalidValueError: a component returned something unusable; the message names it.
    """
    if policy.scorer is None or policy.aggregator is None:
        raise InvalidValueError(
            f"{policy!r} has no scorer yet; tokprune.apply(model, policy) takes the default of the model's adapter"
        )
    share = policy.keep if keep is None else keep
    wants = getattr(policy.selector, "wants", ())
    with torch.no_grad():
        votes: Iterable[Votes] = _votes(policy.scorer, signal)
        if "votes" in wants:
            votes = list(votes)
        scores = _scores(policy.aggregator, policy.scorer, votes, signal)
        extra = signal.pick(name for name in wants if name != "votes")
        if "votes" in wants:
            extra["votes"] = votes
        kept = _kept(policy.selector, scores, share, signal, extra)
    return kept, scores


def _votes(scorer: Scorer, signal: Signal) -> Iterator[Votes]:
    """What a scorer gives, layer by layer, each looked at."""
    with noting("scorer", scorer, signal):
        given = scorer(signal)
        if isinstance(given, str | Tensor | Votes) or not isinstance(given, Iterable):
            raise InvalidValueError(
                f"scorer {brief(scorer)} must give tokprune.Votes layer by layer (a list, or `yield`), got "
                f"{_what(given)}"
            )
        for votes in given:
            if not isinstance(votes, Votes):
                raise InvalidValueError(f"scorer {brief(scorer)} must give tokprune.Votes, got {_what(votes)}")
            if (votes.shape[0], votes.shape[2]) != signal.shape:
                raise InvalidValueError(
                    f"scorer {brief(scorer)} must give votes [batch voter token] for {signal.shape[0]} images of "
                    f"{signal.shape[1]} tokens, got {votes.shape}"
                )
            _check_numbers(votes.given, f"scorer {brief(scorer)}: its votes")
            yield votes


def _scores(aggregator: Aggregator, scorer: Scorer, votes: Iterable[Votes], signal: Signal) -> Tensor:
    with noting("aggregator", aggregator, signal):
        scores = aggregator(votes)
        _check(scores, signal, f"aggregator {brief(aggregator)}", "float", torch.is_floating_point)
        _check_numbers(scores, f"aggregator {brief(aggregator)} of the votes of {brief(scorer)}: the scores")
    return scores


def _kept(selector: Selector, scores: Tensor, keep: Keep, signal: Signal, extra: dict[str, Any]) -> Tensor:
    with noting("selector", selector, signal, scores=scores):
        kept = selector(scores, keep, **extra)
        _check(kept, signal, f"selector {brief(selector)}", "bool", lambda t: t.dtype == torch.bool)
        _check_counts(selector, kept, keep_count(keep, kept.shape[1]))
    return kept


def _check_counts(selector: Selector, kept: Tensor, count: int) -> None:
    if not getattr(selector, "uniform", False):
        if not bool(kept.any(dim=1).all()):
            raise InvalidValueError(f"selector {brief(selector)} kept no token at all of some image")
    elif _can_look(kept) and not bool((kept.sum(dim=1) == count).all()):
        raise InvalidValueError(
            f"selector {brief(selector)} promises the same number of tokens for every image (`uniform`): expected "
            f"{count} each, got {kept.sum(dim=1).tolist()}"
        )


def _check(tensor: Any, signal: Signal, where: str, kind: str, fits: Any) -> None:
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) != signal.shape or not fits(tensor):
        raise InvalidValueError(
            f"{where} must return a {kind} tensor [batch token] = {signal.shape}, got {_what(tensor)}"
        )


def _check_numbers(values: Tensor | None, where: str) -> None:
    """Raise if there are NaNs, where looking at them is free: on other devices it would make the host wait."""
    if values is not None and _can_look(values) and bool(values.isnan().any()):
        raise InvalidValueError(
            f"{where} {tuple(values.shape)} have {int(values.isnan().sum())} NaN, which rank nowhere"
        )


def _can_look(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _what(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
