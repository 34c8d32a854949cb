"""Caches of shortened prompts: shorter than the prompt that the user knows, so who goes on with one must know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from torch import Tensor

from tokprune.errors import UnsupportedCallError

_SHORTENED: WeakSet[Any] = WeakSet()


def remember_shortened(output: Any) -> None:
    """Note that the cache in `output`, if it has one, is of a shortened prompt."""
    cache = getattr(output, "past_key_values", None)
    if cache is not None:
        _SHORTENED.add(cache)


def refuse_longer_prompt(arguments: Mapping[str, Any], generating: bool) -> None:
    """Raise `UnsupportedCallError` if a call goes on with the cache of a shortened prompt as if it were a whole one."""
    cache, ids, mask = (arguments.get(name) for name in ("past_key_values", "input_ids", "attention_mask"))
    if cache is None or cache not in _SHORTENED or not isinstance(ids, Tensor):
        return
    if generating:
        raise UnsupportedCallError(
            f"the cache (past_key_values) is of a shortened prompt: it has {cache.get_seq_length()} tokens, and "
            f"generate would count {ids.shape[1]} in the prompt; pass the whole prompt with its images and no cache"
        )
    total = cache.get_seq_length() + ids.shape[1]
    if mask is not None and mask.dim() == 2 and mask.shape[1] != total:
        raise UnsupportedCallError(
            f"the cache (past_key_values) is of a shortened prompt: expected attention_mask [row {total}] with it, got "
            f"{tuple(mask.shape)}; take the mask's last {total} columns if no row is padded, or pass the whole prompt"
        )
