"""Which row of the prompt each image belongs to."""

from __future__ import annotations

from collections.abc import Sequence

from tokprune.errors import UnsupportedCallError


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
        raise UnsupportedCallError(
            f"the prompt has placeholders for {len(rows)} images (per row: {list(placeholders)}), but {len(tokens)} "
            f"images came with it, of {list(tokens)} tokens. Build the prompt with the model's processor"
        )
    return rows
