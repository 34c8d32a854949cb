"""Images that have equally many tokens are elected among in groups: what was found for each, told of all images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from tokprune.interfaces import Choice, Observed


class Grouped(Protocol):
    """A group of images."""

    @property
    def images(self) -> Sequence[int]:
        """Which images they are."""


def by_image(groups: Sequence[Grouped], values: Sequence[Iterable[Any]]) -> list[Any]:
    """What was found for each image of each group, in the order of the images."""
    found = {
        image: value
        for group, each in zip(groups, values, strict=True)
        for image, value in zip(group.images, each, strict=True)
    }
    return [found[image] for image in sorted(found)]


def padded(rows: Sequence[Tensor]) -> Tensor:
    """Rows of different lengths in one tensor, filled up with zeros (False).

    Example:
        >>> padded([torch.tensor([True]), torch.tensor([True, True])])
        tensor([[ True, False],
                [ True,  True]])
    """
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def observed_in_groups(
    groups: Sequence[Grouped], choices: Sequence[Choice], sizes: Sequence[Tensor | None], before: int, after: int
) -> Observed:
    """What was done, told of all images.

    Args:
        groups: the images.
        choices: for each group what `Cut.choose` returned.
        sizes: for each group how many tokens each stands for `[image token]`, or None if nothing was merged.
        before: how long the sequence was.
        after: how long it is now.
    """
    if len(groups) == 1:
        return Observed(choices[0].kept, before, after, sizes[0], (choices[0],))
    chosen = [choice.kept for choice in choices]
    weights = None
    if any(each is not None for each in sizes):
        full = [kept.float() if size is None else size for kept, size in zip(chosen, sizes, strict=True)]
        weights = padded(by_image(groups, full))
    told = tuple((torch.tensor(group.images), choice) for group, choice in zip(groups, choices, strict=True))
    return Observed(padded(by_image(groups, chosen)), before, after, weights, groups=told)
