"""The prompt's placeholders must match the images, row by row."""

from __future__ import annotations

from collections.abc import Sequence

from tokprune.errors import UnsupportedCallError


def check_placeholders(counts: Sequence[int], images: int, query_tokens: int) -> None:
    """Raise `UnsupportedCallError` unless every row has whole groups of placeholders, one group per image in all.

    Models compare totals at best: at batch 2, a row with too many and a row with too few silently get each other's
    features.

    Args:
        counts: placeholders in each row.
        images: number of images in the call.
        query_tokens: placeholders that each image needs.
    """
    broken = [row for row, count in enumerate(counts) if count % query_tokens]
    if broken:
        row = broken[0]
        raise UnsupportedCallError(
            f"row {row} of the prompt has {counts[row]} image placeholders; expected a multiple of {query_tokens} "
            f"(the model's query tokens per image). Build the prompt with the model's processor"
        )
    if sum(counts) != images * query_tokens:
        raise UnsupportedCallError(
            f"the prompts have placeholders for {sum(counts) // query_tokens} images (per row: "
            f"{[count // query_tokens for count in counts]}), but {images} images came with them"
        )
