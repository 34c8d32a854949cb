"""The answer to a shortened prompt, spread by hand over the prompt that it was made from."""

import torch


def aligned(values, rows, length):
    """Of values `[row short ...]`, padded in front, those for each of `length` positions `[row length ...]`.

    `rows` says which positions stayed in each row. A dropped one shows the nearest before it that stayed, or the first
    of its row if none did.
    """
    whole = values.new_empty((len(rows), length, *values.shape[2:]))
    for row, places in enumerate(rows):
        shift = values.shape[1] - len(places)
        for place in range(length):
            before = [order for order, stayed in enumerate(places) if stayed <= place]
            whole[row, place] = values[row, shift + (before[-1] if before else 0)]
    return whole


def without_padding(values, mask):
    """NaN where `mask` `[row sequence]` is zero."""
    return values.masked_fill(mask[..., None] == 0, torch.nan)
