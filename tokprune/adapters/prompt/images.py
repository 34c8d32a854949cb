"""The images of a call: which row of the prompt each belongs to, and where its tokens are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from tokprune.errors import UnsupportedCallError
from tokprune.functional import kept_index


class Group(Protocol):
    """Images that have equally many tokens, and what was chosen among those."""

    @property
    def images(self) -> Sequence[int]:
        """Which images they are."""

    @property
    def tokens(self) -> Tensor | None:
        """All their vectors after the reduction `[image token dim]`; None if it left them as they were."""

    def index(self) -> list[Tensor]:
        """For each image the numbers of the tokens that stay, int `[token]`."""


class Images(Protocol):
    """The tokens of the images of one call, wherever they are."""

    @property
    def counts(self) -> list[int]:
        """How many tokens each image has."""

    def observed(self, which: Sequence[int]) -> Tensor:
        """The vectors `[image token dim]` of some images, equally many of each, as the signal shows them."""

    def read(self, which: Sequence[int]) -> Tensor:
        """The same as the language model would read them."""

    def put(self, arguments: dict[str, Any], groups: Sequence[Group]) -> dict[str, Any]:
        """The arguments of the call with what the reduction left of the vectors that are in them."""


@dataclass(frozen=True, eq=False)
class Placed:
    """Images whose vectors stand in a finished prompt of embeddings already, equally many of each.

    Attributes:
        vectors: the image tokens on their way there `[image token dim]`.
        embeds: the prompt `[row sequence dim]`.
        places: bool `[row sequence]`, where they stand in it.
    """

    vectors: Tensor
    embeds: Tensor
    places: Tensor

    @property
    def counts(self) -> list[int]:
        """How many tokens each image has."""
        return [self.vectors.shape[1]] * len(self.vectors)

    def observed(self, which: Sequence[int]) -> Tensor:
        """The vectors of all images."""
        return self.vectors

    def read(self, which: Sequence[int]) -> Tensor:
        """The same as the language model would read them."""
        images, tokens = self.vectors.shape[:2]
        # Without asking the device how many there are:
        flat = kept_index(self.places.reshape(1, -1), images * tokens)[0]
        return self.embeds.flatten(0, 1)[flat].view(images, tokens, -1)

    def put(self, arguments: dict[str, Any], groups: Sequence[Group]) -> dict[str, Any]:
        """The arguments of the language model with what the reduction left of the vectors."""
        (group,) = groups
        if group.tokens is None:
            return arguments
        return {**arguments, "inputs_embeds": self.embeds.masked_scatter(self.places[..., None], group.tokens)}


def rows_of_images(placeholders: Sequence[int], tokens: Sequence[int]) -> list[int]:
    """The row of each image, if every row's placeholders are those of whole images.

    Models fill placeholders with features from left to right, row by row, and compare totals at best: a row with too
    many and a row with too few silently get each other's features.

    Args:
        placeholders: how many each row has.
        tokens: how many each image needs.

    Raises:
        UnsupportedCallError: they do not fit.

    Example:
        >>> rows_of_images([8, 0, 4], [4, 4, 4])
        [0, 0, 2]
    """
    size = tokens[0] if tokens and len(set(tokens)) == 1 else 0
    if size and sum(placeholders) != sum(tokens) and not any(count % size for count in placeholders):
        raise _unfit([count // size for count in placeholders], tokens)
    rows: list[int] = []
    for row, count in enumerate(placeholders):
        filled = 0
        while filled < count and len(rows) < len(tokens):
            filled += tokens[len(rows)]
            rows.append(row)
        if filled != count:
            raise UnsupportedCallError(
                f"row {row} of the prompt has {count} image placeholders, which are not those of whole images: the "
                f"images have {list(tokens)} tokens, the rows {list(placeholders)} placeholders. Build the prompt with "
                "the model's processor"
            )
    if len(rows) < len(tokens):
        raise _unfit([rows.count(row) for row in range(len(placeholders))], tokens)
    return rows


def _unfit(rows: Sequence[int], tokens: Sequence[int]) -> UnsupportedCallError:
    return UnsupportedCallError(
        f"the prompt has placeholders for {sum(rows)} images (per row: {list(rows)}), but {len(tokens)} images came "
        f"with it, of {list(tokens)} tokens. Build the prompt with the model's processor"
    )


def flat(values: Sequence[Tensor], device: torch.device) -> Tensor:
    """Values `[token]` of each image one after the other, as they go into a prompt."""
    return torch.cat([each.to(device) for each in values])
