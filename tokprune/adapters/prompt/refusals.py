"""What prompt pruning cannot do rightly, refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokprune.adapters.outercall import Options, refuse_precomputed
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.refusals import refuse_after, refuse_finished_mask, refuse_pieces
from tokprune.adapters.upstream import CACHE_IN_WORDS, cache_in
from tokprune.adapters.wording import at_target
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.interfaces import Cut


def refuse_cut(family: PromptFamily, cut: Cut, config: Any) -> None:
    """Raise `AdapterError` if a language model with this configuration cannot be handed a shorter prompt rightly."""
    where = at_target(family.name, cut)
    refuse_after(where, "in front of the language model", cut, ", or choose target 'image'" * bool(family.vectors))
    if not cut.reduction.removes and getattr(config, "sliding_window", None) is not None:
        raise AdapterError(
            f"{where}: reduction {cut.reduction!r} hides tokens where they are, and they would take up room in the "
            f"language model's attention window of {config.sliding_window} tokens; use 'prune' or 'merge'"
        )


def refuse_call(family: PromptFamily, cut: Cut, arguments: Mapping[str, Any], model: Any, generating: bool) -> None:
    """Raise `UnsupportedCallError` if a call with images cannot be pruned rightly."""
    refuse_precomputed(arguments, f"{cut.target} tokens", family.arguments[0])
    refuse_finished_mask(arguments)
    if generating:
        refuse_pieces(Options(arguments, model))
    if family.vectors is None:
        _refuse_without_ids(arguments)
    for name, value in family.fixed.items():
        if arguments.get(name) is not None and arguments[name] != value and cut.needs:
            raise UnsupportedCallError(
                f"{name}={arguments[name]!r}, but the votes are taken where {name}={value!r} says, which is the "
                "model's configuration; change it there and call tokprune.apply again"
            )


def _refuse_without_ids(arguments: Mapping[str, Any]) -> None:
    """Raise `UnsupportedCallError` unless a whole prompt of ids comes with the images."""
    if arguments.get("input_ids") is None:
        raise UnsupportedCallError(
            "images came with inputs_embeds and without input_ids, so it is not known which tokens of the prompt are "
            "theirs; pass input_ids, or call handle.remove() first"
        )
    cache = cache_in(arguments)
    if cache is not None and cache.get_seq_length() > 0:
        raise UnsupportedCallError(
            f"images came with tokens in it already in {CACHE_IN_WORDS}, so the prompt is not whole; "
            "pass the whole prompt without the cache, or call handle.remove() first"
        )
    for name in ("cache_position", "cu_seq_lens_q"):
        if arguments.get(name) is not None:
            raise UnsupportedCallError(f"{name} counts the tokens of the whole prompt, which is shortened; omit it")
