"""Report: what one pruned call did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.functional import kept_index
from tokprune.interfaces import Choice, Observed


@dataclass(frozen=True, eq=False)
class Report:
    """What the last pruned call kept and why.

    Attributes:
        kept: bool `[image token]`, True for target tokens that stayed. Where images have different numbers of tokens
            there is a column for each token of the largest, False where an image has none.
        scores: float `[image token]`, the score that decided; where tokens leave in several steps, each token's last.
            NaN where an image has no such token.
        length_before: length of the sequence that would have gone on: into the language model, or through the rest of
            the image encoder.
        length_after: length of the one that did.
        sizes: how many original tokens each target token stands for after merging `[image token]`, or None.
        assignment: the number (0 .. k-1, in order) of the kept token whose group each target token belongs to, int
            `[image token]`, -1 for a token that was dropped; None where the selector made no groups.
        backend: which implementation counted the votes: "reference" (torch) or "triton"; "reference, triton" if
            some votes were counted by one and some by the other.
        stages: where several policies prune one target at different places, the report of each, about the tokens that
            it met; the other attributes are then about the tokens that the first one met.
    """

    kept: Tensor
    scores: Tensor
    length_before: int
    length_after: int
    sizes: Tensor | None = None
    assignment: Tensor | None = None
    backend: str = "reference"
    stages: tuple[Report, ...] = ()

    @property
    def counts(self) -> Tensor:
        """How many target tokens stayed, int `[image]`."""
        return self.kept.sum(dim=1)

    def __repr__(self) -> str:
        low, high = int(self.counts.min()), int(self.counts.max())
        kept = str(low) if low == high else f"{low} to {high}"
        images = "1 image" if len(self.kept) == 1 else f"{len(self.kept)} images"
        return (
            f"Report({images}, kept {kept} of {self.kept.shape[1]} tokens each, "
            f"sequence {self.length_before} -> {self.length_after}, backend {self.backend!r})"
        )


def report_of(observed: Observed) -> Report:
    """The report of one pruned call.

    Raises:
        InvalidValueError: the adapter did not say what was chosen.
    """
    choices = tuple(choice for _, choice in observed.groups) or observed.choices
    if not choices:
        raise InvalidValueError(
            "the adapter reported a pruned call without what was chosen: `Observed` needs choices=(choice,), what "
            "`Cut.choose` returned"
        )
    if observed.groups:
        scores = in_one(observed.kept, [(images, choice.scores) for images, choice in observed.groups])
    else:
        scores = latest_scores([(choice.kept, choice.scores) for choice in choices])
    assignment = _assignment(observed, choices)
    return Report(
        observed.once(observed.kept),
        observed.once(scores),
        observed.length_before,
        observed.length_after,
        None if observed.sizes is None else observed.once(observed.sizes),
        None if assignment is None else observed.once(assignment),
        backend=_backends(*choices),
    )


def _assignment(observed: Observed, choices: Sequence[Choice]) -> Tensor | None:
    if all(choice.assignment is None for choice in choices):
        return None
    if not observed.groups:
        return latest_assignment([(choice.kept, choice.assignment) for choice in choices])
    found = [(which, latest_assignment([(each.kept, each.assignment)])) for which, each in observed.groups]
    return in_one(observed.kept, found, fill=-1)


def in_stages(reports: Sequence[Report]) -> Report:
    """What several policies did to the tokens of one target, one after the other.

    Args:
        reports: in the order of the places; each is about the tokens that the one before kept, in their order.

    Raises:
        InvalidValueError: one of them is about other tokens.

    Example:
        >>> import torch
        >>> first = Report(torch.tensor([[True, False, True]]), torch.tensor([[3.0, 1.0, 2.0]]), 9, 8)
        >>> both = in_stages([first, Report(torch.tensor([[False, True]]), torch.tensor([[4.0, 5.0]]), 8, 7)])
        >>> both.kept, both.scores, both.length_before, both.length_after
        (tensor([[False, False,  True]]), tensor([[4., 1., 5.]]), 9, 7)
    """
    total, *later = reports
    for report in later:
        total = _after(total, report)
    return replace(total, stages=tuple(reports)) if later else total


def _after(one: Report, other: Report) -> Report:
    images, most = one.kept.shape[0], int(one.counts.max())
    if tuple(other.kept.shape) != (images, most):
        raise InvalidValueError(
            f"stages: one kept up to {most} tokens of {images} images, and the next reports [image token] = "
            f"{tuple(other.kept.shape)}; handle.report of each handle says what it did"
        )
    # The places of the tokens that the first one kept; an image that has fewer of them has no token there.
    places = (~one.kept).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    there = one.kept.gather(1, places)

    def placed(values: Tensor, around: Tensor) -> Tensor:
        return around.scatter(1, places, torch.where(there, values.to(around), around.gather(1, places)))

    kept = placed(other.kept, torch.zeros_like(one.kept))
    sizes, assignment = None, None
    if other.sizes is not None:
        sizes = placed(other.sizes, torch.zeros_like(kept, dtype=torch.float32))
    elif one.sizes is not None:
        sizes = one.sizes * kept
    if one.assignment is not None or other.assignment is not None:
        assignment = latest_assignment([(one.kept, one.assignment), (other.kept.to(kept.device), other.assignment)])
    return Report(
        kept,
        placed(other.scores, one.scores),
        one.length_before,
        other.length_after,
        sizes,
        assignment,
        backend=_backends(one, other),
    )


def _backends(*found: Choice | Report) -> str:
    return ", ".join(sorted({name for each in found for name in each.backend.split(", ")}))


def latest_scores(steps: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The last score that each token was given.

    Args:
        steps: kept (bool) and scores of every step, `[batch token]`; each step is about the tokens that the step before
            kept, in their order, the same number for every image.

    Returns:
        `[batch token]`, for the tokens of the first step.

    Example:
        >>> import torch
        >>> first = torch.tensor([[True, False, True]]), torch.tensor([[0.5, 0.1, 0.9]])
        >>> latest_scores([first, (torch.tensor([[True, False]]), torch.tensor([[0.7, 0.3]]))])
        tensor([[0.7000, 0.1000, 0.3000]])
    """
    (kept, scores), *later = steps
    alive = None
    for next_kept, next_scores in later:
        stays = kept_index(kept, next_kept.shape[1])
        alive = stays if alive is None else alive.gather(1, stays)
        scores = scores.scatter(1, alive.to(scores.device), next_scores.to(scores))
        kept = next_kept
    return scores


def latest_assignment(steps: Sequence[tuple[Tensor, Tensor | None]]) -> Tensor:
    """To which of the tokens that are left after all steps each token belongs.

    Args:
        steps: kept (bool) and assignment (int; None where that step made no groups) of every step, `[batch token]`;
            each step is about the tokens that the step before kept, in their order.

    Returns:
        Int `[batch token]`, for the tokens of the first step; -1 for those that were dropped.

    Example:
        >>> import torch
        >>> first = torch.tensor([[True, False, True]]), torch.tensor([[0, 1, 1]])
        >>> latest_assignment([first, (torch.tensor([[False, True]]), None)])
        tensor([[-1,  0,  0]])
    """
    (kept, assignment), *later = steps
    found = _numbers(kept) if assignment is None else assignment
    for kept, assignment in later:
        goes_to = (_numbers(kept) if assignment is None else assignment).to(found)
        found = goes_to.gather(1, found.clamp(min=0)).masked_fill(found < 0, -1)
    return found


def _numbers(kept: Tensor) -> Tensor:
    """0 .. k-1 for kept tokens, in order, and -1 for dropped ones."""
    return (kept.cumsum(dim=1) - 1).masked_fill(~kept, -1)


def in_one(kept: Tensor, groups: Sequence[tuple[Tensor, Tensor]], fill: float = torch.nan) -> Tensor:
    """What is known of images that have different numbers of tokens, in one tensor.

    Args:
        kept: bool `[image token]`, with a column for each token of the largest image.
        groups: which images (int `[image]`), and what is known of them `[image token]`.
        fill: what stands where an image has no token.

    Example:
        >>> import torch
        >>> kept = torch.tensor([[True, False], [True, False]])
        >>> in_one(kept, [(torch.tensor([1]), torch.tensor([[3.0]])), (torch.tensor([0]), torch.ones(1, 2))])
        tensor([[1., 1.],
                [3., nan]])
    """
    dtype = groups[0][1].dtype
    values = kept.new_full(kept.shape, fill, dtype=dtype)
    for images, found in groups:
        values[images.to(values.device), : found.shape[1]] = found.to(values)
    return values
