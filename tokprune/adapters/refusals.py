"""What a pruning point cannot be asked for, in the same words wherever that is so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.outercall import Options
from tokprune.adapters.upstream import CACHE_IN_WORDS, GROWING, grows_freely, recomputes_hooks
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.interfaces import Cut

STEPS_BACK = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp")
"""Options of `generate` that try several tokens and take some of them back out of the cache."""


def refuse_cache(cache: Any, windows: bool = False) -> None:
    """Raise `UnsupportedCallError` for a cache that does more than grow, where layers hold different numbers.

    Args:
        cache: the cache, or None.
        windows: whether layers may keep their last tokens alone.
    """
    if cache is not None and not grows_freely(cache, windows):
        raise UnsupportedCallError(f"{CACHE_IN_WORDS} is a {type(cache).__name__}: {_GROWS}")


def refuse_cache_option(options: Options) -> None:
    """Raise `UnsupportedCallError` for a `generate` that would make itself such a cache."""
    if options.get("cache_implementation") not in GROWING:
        raise UnsupportedCallError(f"generate with {options.first(['cache_implementation'])}: {_GROWS}")


_GROWS = (
    "after the pruning point the cache is shorter than in front of it, and that needs a cache that just grows: its "
    "layers keep what they are given, or the last of it (the usual 'dynamic' one), with no fixed size and no rounding"
)


def refuse_after(where: str, place: str, cut: Cut, remedy: str = "") -> None:
    """Raise `AdapterError` if a policy says after which layers to prune, where there is one pruning point."""
    if cut.after is not None:
        raise AdapterError(f"{where} is cut {place}, so after={cut.after!r} means nothing here; omit it{remedy}")


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


def refuse_finished_mask(arguments: Mapping[str, Any]) -> None:
    """Raise `UnsupportedCallError` for an attention mask that does not say of each token whether it is padding."""
    mask = arguments.get("attention_mask")
    if mask is not None and (not isinstance(mask, Tensor) or mask.dim() != 2):
        got = f"got {list(mask.shape)}" if isinstance(mask, Tensor) else f"got {type(mask).__name__}"
        raise UnsupportedCallError(
            f"expected attention_mask [row sequence], one number for each token, {got}; a mask that is made for "
            "attention already cannot be shortened. Give one that says what is padding, or call handle.remove() first"
        )


def refuse_pieces(options: Options) -> None:
    """Raise `UnsupportedCallError` for a `generate` that reads its prompt in pieces."""
    found = options.first(["prefill_chunk_size"])
    if found is not None:
        raise UnsupportedCallError(
            f"generate with {found} lets the prompt come in pieces, and tokens are chosen among those of a whole one; "
            "omit it, or call handle.remove() first"
        )


def refuse_recomputing(layers: Iterable[nn.Module]) -> None:
    """Raise `UnsupportedCallError` where gradient checkpointing would run the hooks of `layers` again in backward."""
    if torch.is_grad_enabled() and any(recomputes_hooks(layer) for layer in layers):
        raise UnsupportedCallError(
            "gradient checkpointing in this release of transformers runs each layer's hooks again in backward, where "
            "the tokens that were chosen are no longer known; switch it off, or install a newer transformers"
        )


def refuse_weighing_again(layers: Iterable[nn.Module]) -> None:
    """Raise `UnsupportedCallError` where gradient checkpointing would run `layers` whose keys are weighed once more."""
    if torch.is_grad_enabled() and any(
        each.training and getattr(each, "gradient_checkpointing", False) for each in layers
    ):
        raise UnsupportedCallError(
            "gradient checkpointing runs the layers of the language model again in backward, where it is no longer "
            "known how many tokens a merged one stands for; switch it off, or use attention='plain'"
        )
