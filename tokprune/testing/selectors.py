"""`check_selector`: the laws of selectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tokprune.interfaces import Groups, Selector
from tokprune.keep import Keep, keep_count
from tokprune.testing import components
from tokprune.testing.elsewhere import Move, try_elsewhere
from tokprune.testing.failures import Violation, same, shown
from tokprune.testing.laws import Law, check_all
from tokprune.testing.observations import Observation, observations

KEEPS: tuple[Keep, ...] = (1, 0.1, 0.5, 1.0)
"""The keeps that every case is tried with."""


def check_selector(selector: Selector, *, by_position: bool | None = None) -> None:
    """Check that a selector returns a usable choice of tokens, and the same one whatever else is in the batch.

    Args:
        selector: the object, with its options.
        by_position: True for a selector that looks at where a token stands; it is then not asked to follow the
            tokens when they change places. None: what its attribute `by_position` says, and False without one.

    Raises:
        AssertionError: the first law that is broken, in words, with the smallest example found.

    Example:
        >>> from tokprune.selectors import TopK
        >>> check_selector(TopK())
    """
    check_all(laws(selector, by_position=by_position))


def laws(selector: Selector, *, by_position: bool | None = None) -> list[Law]:
    """The laws of selectors, for this one."""
    own = bool(getattr(selector, "by_position", False))
    return [Law("selector", selector, law, (own if by_position is None else by_position,)) for law in LAWS]


def cases(dtype: torch.dtype = torch.float32) -> Iterator[tuple[Observation, Tensor]]:
    """Observations with scores for their tokens, the smallest first: all different, some equal, all equal."""
    for observed in observations():
        batch, tokens = observed.tokens.shape[:2]
        generator = torch.Generator().manual_seed(tokens)
        different = torch.stack([torch.randperm(tokens, generator=generator) for _ in range(batch)]) + 0.25
        scale = 2.0 ** torch.arange(batch)[:, None]  # images whose scores cannot be compared with each other
        for scores in (different, different.div(3, rounding_mode="floor"), torch.ones(batch, tokens)):
            yield observed, (scores * scale).to(dtype)


def kept_of(selector: Selector, observed: Observation, scores: Tensor, keep: Keep) -> Tensor:
    """What a selector keeps; it gets what it declares in `wants`."""
    chosen = chosen_by(selector, observed, scores, keep)
    return chosen.kept if isinstance(chosen, Groups) else chosen


def chosen_by(selector: Selector, observed: Observation, scores: Tensor, keep: Keep) -> Tensor | Groups:
    """What a selector gives; it gets what it declares in `wants`."""
    wants: tuple[str, ...] = getattr(selector, "wants", ())
    signal = observed.signal(tuple(name for name in wants if name != "votes"))
    extra: dict[str, Any] = {name: getattr(signal, name) for name in wants if name != "votes"}
    if "votes" in wants:
        extra["votes"] = list(observed.signal(("cross_attention",)).cross_attention)
    with torch.no_grad():
        return selector(scores, keep, **extra)


def returns_a_mask(selector: Any, by_position: bool) -> None:
    """A selector returns a bool mask [batch token], True for kept tokens, and keeps at least one of every image."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for observed, scores in cases(dtype):
            for keep in KEEPS:
                kept = kept_of(selector, observed, scores, keep)
                if not isinstance(kept, Tensor) or kept.dtype != torch.bool or kept.shape != scores.shape:
                    found = f"{kept.dtype} {tuple(kept.shape)}" if isinstance(kept, Tensor) else type(kept).__name__
                    raise Violation(
                        f"For the scores {shown(scores)} and keep={keep} it returned {found}: {shown(kept)}; "
                        f"expected bool {tuple(scores.shape)}."
                    )
                if not bool(kept.any(dim=1).all()):
                    raise Violation(f"For the scores {shown(scores)} and keep={keep} it kept {shown(kept)}.")


def groups_are_a_partition(selector: Any, by_position: bool) -> None:
    """Groups have one kept token each, numbered 0 .. k-1 in the order of the kept tokens; -1 is for tokens in none.

    A selector that gives groups says so (`makes_groups`), and one that says so gives them.
    """
    for observed, scores in cases():
        for keep in KEEPS:
            chosen = chosen_by(selector, observed, scores, keep)
            says, gives = bool(getattr(selector, "makes_groups", False)), isinstance(chosen, Groups)
            if says != gives:
                raise Violation(f"makes_groups is {says}, and it gave {type(chosen).__name__}; write {gives}.")
            if isinstance(chosen, Groups):
                _check_partition(chosen.kept, chosen.assignment, f"For the scores {shown(scores)} and keep={keep}")


def _check_partition(kept: Tensor, assignment: Any, where: str) -> None:
    whole = isinstance(assignment, Tensor) and assignment.dtype in (torch.int64, torch.int32)
    if not whole or assignment.shape != kept.shape:
        found = f"{assignment.dtype} {tuple(assignment.shape)}" if isinstance(assignment, Tensor) else assignment
        raise Violation(f"{where} it gave the assignment {found}; expected int {tuple(kept.shape)}.")
    own = (kept.cumsum(dim=1) - 1)[kept]
    known = (assignment >= -1) & (assignment < kept.sum(dim=1, keepdim=True))
    if not torch.equal(assignment[kept].long(), own) or not bool(known.all()):
        raise Violation(f"{where} it kept {shown(kept)} in the groups {shown(assignment)}.")


def keeps_the_right_number(selector: Any, by_position: bool) -> None:
    """A uniform selector keeps exactly as many tokens of every image as `keep` says."""
    if not getattr(selector, "uniform", False):
        return
    for observed, scores in cases():
        for keep in KEEPS:
            kept = kept_of(selector, observed, scores, keep)
            wanted = keep_count(keep, scores.shape[1])
            if not bool((kept.sum(dim=1) == wanted).all()):
                raise Violation(
                    f"For the scores {shown(scores)} and keep={keep} it kept {shown(kept)}: {shown(kept.sum(dim=1))} "
                    f"tokens, expected {wanted} of every image."
                )


def keep_one_keeps_all(selector: Any, by_position: bool) -> None:
    """keep=1.0 keeps every token."""
    for observed, scores in cases():
        kept = kept_of(selector, observed, scores, 1.0)
        if not bool(kept.all()):
            raise Violation(f"For the scores {shown(scores)} it kept {shown(kept)}.")


def refuses_more_than_there_are(selector: Any, by_position: bool) -> None:
    """A keep count above the number of tokens raises a ValueError."""
    observed, scores = next(cases())
    try:
        kept = kept_of(selector, observed, scores, scores.shape[1] + 1)
    except ValueError:
        return
    raise Violation(
        f"For the scores {shown(scores)} and keep={scores.shape[1] + 1} it kept {shown(kept)}; "
        "tokprune.functional.top_k does this check."
    )


def same_choice_twice(selector: Any, by_position: bool) -> None:
    """A selector keeps no state: the same scores give the same choice, whatever came between."""
    every = list(cases())
    for (observed, scores), other in zip(every, reversed(every), strict=True):
        before = kept_of(selector, observed, scores, 0.5)
        again = kept_of(selector, observed, scores, 0.5)
        kept_of(selector, observed, scores.flip(1), 0.5)
        kept_of(selector, *other, 0.5)
        after = kept_of(selector, observed, scores, 0.5)
        if not (same(before, again) and same(before, after)):
            raise Violation(
                f"For the scores {shown(scores)} it kept {shown(before)}, the second time {shown(again)} and, after "
                f"other calls, {shown(after)}."
            )


def leaves_the_scores_alone(selector: Any, by_position: bool) -> None:
    """A selector does not write into the scores that it is given."""
    for observed, scores in cases():
        given = scores.clone()
        kept_of(selector, observed, given, 0.5)
        if not same(given, scores):
            raise Violation(f"The scores {shown(scores)} are {shown(given)} afterwards.")


def images_do_not_matter_to_each_other(selector: Any, by_position: bool) -> None:
    """What is kept of an image does not depend on the other images of the batch."""
    for observed, scores in cases():
        for keep in KEEPS:
            together = kept_of(selector, observed, scores, keep)
            for row in range(scores.shape[0]):
                alone = kept_of(selector, observed.images(row), scores[row : row + 1], keep)
                if not same(together[row : row + 1], alone):
                    raise Violation(
                        f"For the scores {shown(scores)} and keep={keep}, of image {row} it kept "
                        f"{shown(together[row])} among the others and {shown(alone[0])} alone."
                    )


def follows_the_tokens(selector: Any, by_position: bool) -> None:
    """When tokens with different scores change places, the choice goes with them."""
    if by_position:
        return
    for observed, scores in cases():
        order = torch.arange(scores.shape[1]).flip(0)
        if any(len(row.unique()) < len(row) for row in scores):
            continue  # among equals, somebody's place has to decide
        for keep in KEEPS:
            kept = kept_of(selector, observed, scores, keep)
            moved = kept_of(selector, observed.permuted(order), scores[:, order], keep)
            if not same(moved, kept[:, order]):
                raise Violation(
                    f"For the scores {shown(scores)} and keep={keep} it kept {shown(kept)}; with the tokens in the "
                    f"order {order.tolist()} {shown(moved)}, expected {shown(kept[:, order])}."
                )


def stays_on_the_device(selector: Any, by_position: bool) -> None:
    """A selector makes its mask on the device that the scores are on."""
    observed, scores = list(cases())[-3]

    def tensors(move: Move) -> list[Tensor]:
        chosen = chosen_by(selector, observed.changed(move), move(scores), 0.5)
        return [chosen.kept, chosen.assignment] if isinstance(chosen, Groups) else [chosen]

    try_elsewhere(tensors)


LAWS = (
    *components.LAWS,
    returns_a_mask,
    groups_are_a_partition,
    keeps_the_right_number,
    keep_one_keeps_all,
    refuses_more_than_there_are,
    leaves_the_scores_alone,
    same_choice_twice,
    images_do_not_matter_to_each_other,
    follows_the_tokens,
    stays_on_the_device,
)
"""The laws of selectors, in the order they are checked."""
