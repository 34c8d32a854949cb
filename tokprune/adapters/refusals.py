"""What a seam cannot be asked for, in the same words wherever that is so."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from tokprune.adapters.upstream import recomputes_hooks
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.interfaces import Cut

STEPS_BACK = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp")
"""Options of `generate` that try several tokens and take some of them back out of the cache."""


def refuse_after(where: str, place: str, cut: Cut, remedy: str = "") -> None:
    """Raise `AdapterError` if a policy says behind which layers to cut, at a seam that has only one place."""
    if cut.after is not None:
        raise AdapterError(f"{where} is cut {place}, so after={cut.after!r} means nothing here; leave it away{remedy}")


def refuse_what_needs_a_mask(where: str, cut: Cut, reader: str) -> None:
    """Raise `AdapterError` if tokens would have to be hidden from `reader`, which takes no mask."""
    if not cut.reduction.removes:
        raise AdapterError(
            f"{where}: reduction {cut.reduction!r} hides tokens from attention, and {reader} takes no mask; use "
            "'prune' or 'merge'"
        )
    if cut.keep is None:
        raise AdapterError(
            f"{where}: the selector may keep different numbers of tokens for the images of a batch, and {reader} takes "
            "no mask to fill the gaps; use a selector that keeps the same number, such as 'top-k'"
        )


def refuse_recomputing(layers: Iterable[nn.Module]) -> None:
    """Raise `UnsupportedCallError` where gradient checkpointing would run the hooks of `layers` again in backward."""
    if torch.is_grad_enabled() and any(recomputes_hooks(layer) for layer in layers):
        raise UnsupportedCallError(
            "gradient checkpointing in this release of transformers runs each layer's hooks again in backward, where "
            "the tokens that were chosen are no longer known; switch it off, or install a newer transformers"
        )
