"""Choose which tokens stay: signal -> votes -> scores -> kept, with what every component gives checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError, brief
from tokprune.interfaces import Aggregator, Choice, Groups, Scorer, Selector
from tokprune.keep import Keep, keep_count
from tokprune.kernels import record_backends
from tokprune.noting import noting
from tokprune.signal import Signal
from tokprune.votes import Votes


def choose(
    scorer: Scorer,
    aggregator: Aggregator | None,
    selector: Selector,
    signal: Signal,
    keep: Keep,
    *,
    own_rule: bool = True,
) -> Choice:
    """Choose which tokens stay.

    What a component raises gets a note with its name and what it was given.

    Args:
        scorer: signal -> votes, or scores.
        aggregator: votes -> scores; None for a scorer that gives scores.
        selector: scores and keep -> kept, or groups.
        signal: what was observed.
        keep: what stays.
        own_rule: whether the aggregator is the scorer's own, so that scores may come without it.

    Raises:
        InvalidValueError: a component returned something unusable; the message names it.
    """
    wants = getattr(selector, "wants", ())
    extra = signal.pick(name for name in wants if name != "votes")
    with torch.no_grad(), record_backends() as ran:
        with noting("scorer", scorer, signal):
            given = scorer(signal)
        if isinstance(given, Tensor) and given.dim() == 2:
            check_nothing_reads_votes(scorer, None if own_rule else aggregator, selector)
            scores = _plain_scores(scorer, given, signal)
        else:
            if aggregator is None:
                raise InvalidValueError(
                    f"scorer {brief(scorer)} declares aggregator = None, so it must give scores [image token] = "
                    f"{signal.shape}, got {_what(given)}"
                )
            votes: Iterable[Votes] = _votes(scorer, given, signal)
            if "votes" in wants:
                votes = extra["votes"] = list(votes)
            scores = _scores(aggregator, scorer, votes, signal)
        kept, assignment = _kept(selector, scores, keep, signal, extra)
    return Choice(kept, assignment, scores, ", ".join(sorted(ran)) or "reference")


def check_nothing_reads_votes(scorer: Scorer, aggregator: object, selector: Selector) -> None:
    """Raise where something is to read the votes of a scorer that gives scores.

    Raises:
        InvalidValueError: `aggregator` is not None, or the selector wants votes.
    """
    if aggregator is not None:
        raise InvalidValueError(
            f"aggregator {brief(aggregator)} has nothing to add up: scorer {brief(scorer)} gives scores, not votes; "
            "omit the aggregator"
        )
    if "votes" in getattr(selector, "wants", ()):
        raise InvalidValueError(
            f"selector {brief(selector)} wants 'votes', and scorer {brief(scorer)} gives scores; take a scorer that "
            "gives votes, or another selector"
        )


def _plain_scores(scorer: Scorer, scores: Tensor, signal: Signal) -> Tensor:
    """What a scorer gives that needs no aggregator, in float32 or better."""
    with noting("scorer", scorer, signal):
        _check(scores, signal, f"scorer {brief(scorer)}", "float", torch.is_floating_point)
        _check_numbers(scores, f"scorer {brief(scorer)}: its scores")
    return scores if scores.dtype == torch.float64 else scores.float()


def _votes(scorer: Scorer, given: Any, signal: Signal) -> Iterator[Votes]:
    """What a scorer gives, layer by layer, each looked at."""
    expected = f"scorer {brief(scorer)} must give tokprune.Votes"
    with noting("scorer", scorer, signal):
        if isinstance(given, str | Tensor | Votes) or not isinstance(given, Iterable):
            raise InvalidValueError(
                f"{expected} layer by layer (a list, or `yield`), or scores [image token] = {signal.shape}, got "
                f"{_what(given)}"
            )
        for votes in given:
            if not isinstance(votes, Votes):
                raise InvalidValueError(f"{expected}, got {_what(votes)}")
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


def _kept(
    selector: Selector, scores: Tensor, keep: Keep, signal: Signal, extra: dict[str, Any]
) -> tuple[Tensor, Tensor | None]:
    """Kept tokens, and the group of each token where the selector makes groups."""
    name = f"selector {brief(selector)}"
    with noting("selector", selector, signal, scores=scores):
        found: Any = selector(scores, keep, **extra)
        kept, assignment = (found.kept, found.assignment) if isinstance(found, Groups) else (found, None)
        _check(kept, signal, name, "bool", lambda t: t.dtype == torch.bool)
        _check_counts(selector, kept, keep_count(keep, kept.shape[1]))
        if assignment is not None:
            _check_groups(name, kept, assignment, signal)
    return kept, assignment


def _check_groups(name: str, kept: Tensor, assignment: Any, signal: Signal) -> None:
    """Raise unless every group has exactly one kept token, whose number is that of the group."""
    _check(assignment, signal, f"{name}, in Groups.assignment,", "int", lambda t: t.dtype in (torch.int64, torch.int32))
    if not _can_look(assignment):
        return
    numbers = (kept.cumsum(dim=1) - 1)[kept]
    if not torch.equal(assignment[kept].long(), numbers):
        raise InvalidValueError(
            f"{name} must put each kept token into a group of its own, numbered 0, 1, ... in their order: expected "
            f"{numbers.tolist()} for the kept tokens of all images, got {assignment[kept].tolist()}"
        )
    if bool(((assignment < -1) | (assignment >= kept.sum(dim=1, keepdim=True))).any()):
        raise InvalidValueError(
            f"{name} must number groups from 0 to k-1, with -1 for tokens in none, where k tokens of an image are kept "
            f"({kept.sum(dim=1).tolist()}); got numbers from {int(assignment.min())} to {int(assignment.max())}"
        )


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
