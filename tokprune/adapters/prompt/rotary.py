"""Multimodal rotary positions: where a token stands in its image, which does not change when its neighbours leave.

A model with such positions counts text tokens one by one, and gives each token of an image its frame, row and column
instead, which it finds by the placeholders of whole images. It cannot do so on a prompt without the dropped tokens. So
it is asked about the whole prompt, and the tokens that stay take their positions along.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.calls import current_call
from tokprune.adapters.outercall import named_arguments
from tokprune.adapters.positions import compact
from tokprune.adapters.rows import Rows


class RotaryPositions:
    """Stands in for `get_rope_index` while a call of `owner` has a shorter prompt than the user gave."""

    def __init__(self, owner: object) -> None:
        self.owner = owner

    def __call__(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Positions `[3 row sequence]` of the shorter prompt, and how far they run ahead of its length `[row 1]`.

        The model remembers the second, to go on by it when it is called with a cache.
        """
        call = current_call(self.owner)
        if call is None or call.whole is None:
            return original(*args, **kwargs)  # type: ignore[no-any-return]
        given = named_arguments(original, args, kwargs)
        whole = {name: call.whole.get(name, value) for name, value in given.items()}
        positions, ahead = original(**{**whole, "attention_mask": call.mask})
        if call.rows is None:  # hidden tokens are still there
            return positions, ahead
        stay = call.rows.take(call.mask, 0)
        dropped = call.mask.sum(dim=1, keepdim=True) - stay.sum(dim=1, keepdim=True)
        return take_channels(call.rows, positions), ahead + dropped.to(ahead)


def take_channels(rows: Rows, positions: Tensor) -> Tensor:
    """The kept positions in each channel of `[channel row sequence]`."""
    return torch.stack([rows.take(channel, 0) for channel in positions])


def close_text_gaps(positions: Tensor, stays: Tensor) -> Tensor:
    """Given positions `[channel row sequence]`, of which the first of four channels is counted anew.

    That channel rotates nothing: it tells where a sequence ends and the next begins, and a gap would look like that.
    """
    if positions.shape[0] != 4:
        return positions
    return torch.cat([compact(positions[0], stays)[None], positions[1:]])
