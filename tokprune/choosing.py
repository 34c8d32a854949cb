"""Choose which tokens stay: signal -> votes -> scores -> kept, with what every component gives checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError, brief
from tokprune.interfaces import Aggregator, Choice, Scorer, Selector
from tokprune.keep import Keep, keep_count
from tokprune.kernels import record_backends
from tokprune.noting import noting
from tokprune.signal import Signal
from tokprune.votes import Votes


def choose(scorer: Scorer, aggregator: Aggregator, selector: Selector, signal: Signal, keep: Keep) -> Choice:
    """Choose which tokens stay.

    What a component raises gets a note with its name and what it was given.

    Args:
        scorer: signal -> votes.
        aggregator: votes -> scores.
        selector: scores and keep -> kept.
        signal: what was observed.
        keep: what stays.

    Raises:
        InvalidValueError: a component returned something unusable; the message names it.
    """
    wants = getattr(selector, "wants", ())
    with torch.no_grad(), record_backends() as ran:
        votes: Iterable[Votes] = _votes(scorer, signal)
        if "votes" in wants:
            votes = list(votes)
        scores = _scores(aggregator, scorer, votes, signal)
        extra = signal.pick(name for name in wants if name != "votes")
        if "votes" in wants:
            extra["votes"] = votes
        kept = _kept(selector, scores, keep, signal, extra)
    return Choice(kept, None, scores, ", ".join(sorted(ran)) or "reference")


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
