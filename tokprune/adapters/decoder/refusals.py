"""What decoder pruning cannot do, refused before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor

from tokprune.adapters.decoder.family import AFTER, Reader
from tokprune.adapters.decoder.layout import Group, unfit
from tokprune.adapters.decoder.shorter import Shorter
from tokprune.adapters.outercall import Options
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.refusals import (
    STEPS_BACK,
    refuse_cache,
    refuse_cache_option,
    refuse_recomputing,
    refuse_weighing_again,
)
from tokprune.adapters.upstream import grows_freely, mixes_up_images
from tokprune.adapters.wording import at_target
from tokprune.after import layers_before
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.interfaces import Cut


def check_cut(family: PromptFamily, cut: Cut, depth: int, offered: Collection[str]) -> tuple[int, ...]:
    """After how many layers tokens leave, in rising order.

    Raises:
        AdapterError: a policy that does not go together with pruning inside the language model.
        InvalidValueError: there are not that many layers.
    """
    where = f"{at_target(family.name, cut)}, inside the language model"
    places = layers_before(max(1, min(AFTER, depth - 1)) if cut.after is None else cut.after, depth)
    if places[-1] == depth:
        raise AdapterError(f"{where}: after the last of {depth} layers nothing is left to save; give a smaller `after`")
    if len(places) > 1 and (cut.keep is None or not cut.reduction.removes):
        raise AdapterError(
            f"{where}: at {len(places)} pruning points equal numbers of tokens leave, step by step; expected a "
            "selector that keeps the same number in every image, such as 'top-k', and a reduction that removes tokens; "
            "prune at one point, such as after=2"
        )
    missing = [name for name in cut.needs if name not in offered]
    if missing:
        raise AdapterError(
            f"{where}: {missing[0]!r} is not observed there, only {', '.join(repr(name) for name in offered)}; the "
            "text can only vote inside the language model, the image encoder only in front of it"
        )
    return places


_UNUSUAL = (*STEPS_BACK, "penalty_alpha", "dola_layers", "prefill_chunk_size", "custom_generate")
"""Options that try tokens and take them back, look at several layers, or read the prompt in pieces."""


def check_generation(options: Options) -> None:
    """Raise `UnsupportedCallError` for a `generate` whose cache cannot have layers of different lengths."""
    refuse_cache_option(options)
    found = options.first(_UNUSUAL)
    if found is not None:
        raise UnsupportedCallError(
            f"generate with {found}: after the pruning point the cache is shorter than in front of it, and that needs "
            "a cache that just grows (the usual 'dynamic' one). Omit it, or prune in front of the language model"
        )


def check_steps(options: Options) -> None:
    """Raise `UnsupportedCallError` for a `generate` that reads the whole prompt again at each step, in two stages."""
    if options.get("use_cache") is False:
        raise UnsupportedCallError(
            "generate with use_cache=False: tokens leave in front of the language model and inside it, and each step "
            "would read the images of the shortened prompt again; leave use_cache on, or remove one of the policies"
        )


def check_prompt(reader: Reader, cut: Cut, mask: Any, cache: Any) -> None:
    """Raise `UnsupportedCallError` for a call with images that cannot be pruned rightly.

    Args:
        reader: the module that runs through the layers.
        cut: what is asked for.
        mask: the attention mask of the call.
        cache: its cache.
    """
    used = getattr(reader.module.config, "_attn_implementation", "eager")
    if used not in ("eager", "sdpa"):
        raise UnsupportedCallError(
            f"attention implementation {used!r}: inside the language model pruning is known to be right with 'sdpa' "
            "and 'eager' only; call model.set_attn_implementation('sdpa'), or prune in front of the language model"
        )
    refuse_recomputing(reader.layers)
    if cut.attention == "proportional":
        refuse_weighing_again(reader.layers)
    if mask is not None and not (isinstance(mask, Tensor) and mask.dim() == 2):
        raise UnsupportedCallError(
            "an attention mask of one's own does not say which tokens are padding; give attention_mask [batch sequence]"
        )
    if cache is None:
        return
    refuse_cache(cache, windows=True)
    if cache.get_seq_length():
        raise UnsupportedCallError(
            "images in a call that goes on from a cache: the tokens of the earlier calls can no longer vote; give the "
            "whole prompt at once"
        )


def check_images(family: PromptFamily, arguments: Mapping[str, Any], counts: Sequence[int]) -> None:
    """Raise `UnsupportedCallError` if the placeholders of each row cannot be those of whole images.

    How many tokens an image has is seen when it is encoded. But images of one size have equally many.
    """
    images = arguments.get(family.arguments[0])
    if not isinstance(images, Tensor) or images.dim() != 4 or arguments.get("image_sizes") is not None:
        return
    size = sum(counts) // max(1, len(images))
    if size == 0 or any(count % size for count in counts) or sum(counts) != size * len(images):
        raise unfit(counts, f"{len(images)} images of one size")


def check_answers(
    family: PromptFamily, arguments: Mapping[str, Any], counts: Sequence[int], options: Options, model: Any
) -> None:
    """Raise `UnsupportedCallError` if `generate` would give its several answers to a prompt each other's images."""
    images = arguments.get(family.arguments[0])
    if images is None:
        return
    answers = max(options.get("num_beams") or 1, options.get("num_return_sequences") or 1)
    shown = [row for row, count in enumerate(counts) if count]
    extra = shown[-1:] * (len(images) - len(shown))
    if answers > 1 and mixes_up_images(model, len(images), [*shown, *extra]):
        raise UnsupportedCallError(_MIXED_UP)


_MIXED_UP = (
    "several images in a prompt, and several beams or samples of it: this release of transformers mixes up the images. "
    "Install a newer transformers, or generate one sequence for each prompt without beams"
)


def check_copies(model: Any, groups: Sequence[Group]) -> None:
    """Raise `UnsupportedCallError` where copies of a prompt have got each other's images."""
    owners = sorted(row for group in groups for row in group.owners)
    if mixes_up_images(model, len(owners), owners):
        raise UnsupportedCallError(_MIXED_UP)


def check_later(cache: Any, shorter: Mapping[int, Shorter], places: Sequence[int]) -> None:
    """Raise `UnsupportedCallError` for a cache that is not as pruning left it, or that belongs to another policy."""
    if not grows_freely(cache, windows=True) or places[-1] >= len(cache.layers):
        return  # it was never pruned: calls without images are left alone
    total = cache.get_seq_length()
    for place in places:
        after, rows = cache.get_seq_length(place), None if place not in shorter else shorter[place].rows
        expected = 0 if rows is None else rows.before - rows.length
        if total - after != expected or (rows is not None and total < rows.before):
            raise UnsupportedCallError(
                f"the cache has {total} tokens in front of the pruning point and {after} after it, where {expected} "
                "fewer were expected: it was made under another policy, or tokens were taken back from it (assisted "
                "decoding). Begin anew with the whole prompt"
            )
