"""Where in the prompts the images' tokens stand, and which tokens vote for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.hostcopy import HostCopy
from tokprune.adapters.rows import Rows
from tokprune.errors import UnsupportedCallError


@dataclass(frozen=True, eq=False)
class Group:
    """Images that have equally many tokens.

    Attributes:
        images: which images.
        rows: in which prompt each is.
        places: where in the whole prompt its tokens stand, `[image token]`.
        owners: `rows`, as the host knows them.
    """

    images: tuple[int, ...]
    rows: Tensor
    places: Tensor
    owners: tuple[int, ...]


@dataclass(eq=False)
class Layout:
    """The prompts of one call, each once: `generate` has copies of them beside each other where it follows several.

    Attributes:
        placeholders: bool `[row sequence]`, where image tokens stand.
        real: bool `[row sequence]`, what is no padding.
        copies: how many rows of the call are the same prompt.
    """

    placeholders: Tensor
    real: Tensor
    copies: int = 1
    counts: HostCopy = field(init=False)
    """How many placeholders each row has."""
    _voters: HostCopy = field(init=False)
    voting: Tensor = field(init=False)
    """bool `[row sequence]`: the text, and the last token whatever it is."""

    def __post_init__(self) -> None:
        self.real = self.real.to(self.placeholders.device)
        left = self.real.flip(dims=(1,)).long().cumsum(dim=1).flip(dims=(1,))  # real tokens from here on
        self.voting = self.real & (~self.placeholders | (left == 1))
        self.counts = HostCopy(self.placeholders.sum(dim=1))
        self._voters = HostCopy(self.voting.sum(dim=1))

    def voters(self) -> Rows:
        """Who votes in each row, in the order of the prompt; rows with fewer are filled up in front."""
        return Rows.of(self.voting, "left", _read(self._voters))

    def groups(self, sizes: Sequence[int], stays: Tensor | None = None, copies: int | None = None) -> list[Group]:
        """The images, in groups of those that have equally many tokens.

        Args:
            sizes: how many tokens each image of the call has.
            stays: bool `[row sequence]`, which positions are left; None for all.
            copies: how many rows are the same prompt; None for as many as there are in the call.

        Raises:
            UnsupportedCallError: those are not the placeholders that there are.
        """
        copies = self.copies if copies is None else copies
        counts = _read(self.counts)
        places = self.placeholders
        if stays is not None:
            places = places & stays
            counts = places.sum(dim=1).tolist()
        index = Rows.of(places, "right", counts).index
        found: dict[int, list[tuple[int, int, Tensor]]] = {}
        total = len(counts) * copies
        row = taken = images = 0
        for size in sizes:
            while row < total and taken == counts[row // copies]:
                row, taken = row + 1, 0
            if row == total or taken + size > counts[row // copies]:
                raise unfit(counts, f"images of {list(sizes)} tokens")
            if row % copies == 0:
                own = row // copies
                found.setdefault(size, []).append((images, own, index[own, taken : taken + size]))
                images += 1
            taken += size
        if sum(counts) * copies != sum(sizes):
            raise unfit(counts, f"images of {list(sizes)} tokens")
        device = index.device
        return [
            Group(
                tuple(image for image, _, _ in members),
                torch.tensor([row for _, row, _ in members], device=device),
                torch.stack([places for _, _, places in members]),
                tuple(row for _, row, _ in members),
            )
            for members in found.values()
        ]


def image_sizes(features: Any, tokens_per_image: int | None = None) -> list[int]:
    """How many tokens each image has, from what a model's `get_image_features` gives.

    Args:
        features: that.
        tokens_per_image: how many tokens every image has, where that is fixed and features may come joined.
    """
    if hasattr(features, "pooler_output"):  # an output of transformers; not all releases let it be found by name
        features = features.pooler_output
    elif isinstance(features, Mapping):
        features = features["pooler_output"]
    sizes = [each.shape[:-1].numel() for each in features]
    return sizes if tokens_per_image is None else [tokens_per_image] * (sum(sizes) // tokens_per_image)


def _read(counts: HostCopy) -> list[int]:
    found = counts.read()
    if found is None:
        raise UnsupportedCallError(
            "which row has how many images cannot be read while a graph is recorded; record only what comes after the "
            "prompt"
        )
    return found


def unfit(counts: Sequence[int], images: str) -> UnsupportedCallError:
    """The error for prompts with `counts` placeholders that are not those of `images`."""
    return UnsupportedCallError(
        f"the prompts have {list(counts)} image placeholders per row, but there are {images}, and no image goes across "
        "two rows. Build the prompt with the model's processor"
    )
