"""What the inside seam cannot do, refused before anything runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.inside.family import DecoderFamily
from tokprune.adapters.inside.layout import Group, unfit
from tokprune.adapters.inside.shorter import Shorter
from tokprune.adapters.outercall import Options
from tokprune.adapters.refusals import STEPS_BACK, refuse_cache, refuse_cache_option, refuse_recomputing
from tokprune.adapters.upstream import cache_in, encodes_before_expanding, grows_freely, rotation_of
from tokprune.after import layers_before
from tokprune.errors import AdapterError, UnsupportedCallError
from tokprune.interfaces import Cut


def check_model(family: DecoderFamily, language_model: nn.Module, layers: Sequence[nn.Module]) -> None:
    """Raise `AdapterError` unless the language model is built as the seam expects."""
    config: Any = language_model.config
    where = f"adapter {family.name!r}: a {type(language_model).__name__} cannot be cut inside"
    windows = [kind for kind in getattr(config, "layer_types", None) or () if kind != "full_attention"]
    if windows or (getattr(config, "layer_types", None) is None and getattr(config, "sliding_window", None)):
        raise AdapterError(
            f"{where}, for its layers see only a window ({windows[0] if windows else 'sliding_window'}), and what is "
            "in it changes where tokens leave; omit `after` to cut in front of the language model"
        )
    if getattr(config, "attn_logit_softcapping", None):
        raise AdapterError(
            f"{where}, for it bends the logits of its attention (attn_logit_softcapping), so votes would be other than "
            "its own; omit `after` to cut in front of the language model"
        )
    for layer in layers:
        try:
            attention: Any = layer.get_submodule(family.attention)
            _ = attention.head_dim, attention.scaling
            known = rotation_of(attention) is not None
            for path in (family.query, family.key):
                attention.get_submodule(path)
        except AttributeError:
            known = False
        if not known:
            raise AdapterError(f"{where}, for a {type(layer).__name__} is not built like LLaMA's layers")


def check_cut(family: DecoderFamily, cut: Cut, depth: int, offered: Collection[str]) -> int:
    """Behind how many layers to cut.

    Raises:
        AdapterError: a policy that does not go together with a cut inside the language model.
        InvalidValueError: there are not that many layers.
    """
    where = f"adapter {family.name!r} target {cut.target!r}, inside the language model"
    places = layers_before(max(1, min(family.after, depth - 1)) if cut.after is None else cut.after, depth)
    if len(places) > 1:
        raise AdapterError(f"{where}: tokens leave at one layer, after={cut.after!r} names {len(places)}")
    if places[0] == depth:
        raise AdapterError(
            f"{where}: behind the last of {depth} layers nothing is left to save; give a smaller `after`"
        )
    missing = [name for name in cut.needs if name not in offered]
    if missing:
        raise AdapterError(
            f"{where}: {missing[0]!r} is not observed there, only {', '.join(repr(name) for name in offered)}; the "
            "text can only vote inside the language model, the image encoder only in front of it"
        )
    return places[0]


_UNUSUAL = (*STEPS_BACK, "penalty_alpha", "dola_layers", "prefill_chunk_size", "custom_generate")
"""Options that try tokens and take them back, look at several layers, or read the prompt in pieces."""


def check_generation(options: Options) -> None:
    """Raise `UnsupportedCallError` for a `generate` whose cache cannot have layers of different lengths."""
    refuse_cache_option(options)
    found = options.first(_UNUSUAL)
    if found is not None:
        raise UnsupportedCallError(
            f"generate with {found}: behind the cut the cache is shorter than in front of it, and that needs a cache "
            "that just grows (the usual 'dynamic' one). Omit it, or prune in front of the language model"
        )


def check_prompt(arguments: dict[str, Any], language_model: nn.Module, layers: Sequence[nn.Module]) -> None:
    """Raise `UnsupportedCallError` for a call with images that cannot be cut rightly."""
    config: Any = language_model.config
    used = getattr(config, "_attn_implementation", "eager")
    if used not in ("eager", "sdpa"):
        raise UnsupportedCallError(
            f"attention implementation {used!r}: inside the language model the cut is known to be right with 'sdpa' "
            "and 'eager' only; call model.set_attn_implementation('sdpa'), or prune in front of the language model"
        )
    refuse_recomputing(layers)
    mask = arguments.get("attention_mask")
    if mask is not None and not (isinstance(mask, Tensor) and mask.dim() == 2):
        raise UnsupportedCallError(
            "an attention mask of one's own does not say which tokens are padding; give attention_mask [batch sequence]"
        )
    cache = cache_in(arguments)
    if cache is None:
        return
    refuse_cache(cache)
    if cache.get_seq_length():
        raise UnsupportedCallError(
            "images in a call that goes on from a cache: the tokens of the earlier calls can no longer vote; give the "
            "whole prompt at once"
        )


def check_images(family: DecoderFamily, arguments: Mapping[str, Any], counts: Sequence[int]) -> None:
    """Raise `UnsupportedCallError` if the placeholders of each row cannot be those of whole images.

    How many tokens an image has is seen when it is encoded. But images of one size have equally many.
    """
    images = arguments.get(family.image_argument)
    if not isinstance(images, Tensor) or images.dim() != 4 or arguments.get("image_sizes") is not None:
        return
    size = sum(counts) // max(1, len(images))
    if size == 0 or any(count % size for count in counts) or sum(counts) != size * len(images):
        raise unfit(counts, f"{len(images)} images of one size")


def check_answers(
    family: DecoderFamily, arguments: Mapping[str, Any], counts: Sequence[int], options: Options, model: nn.Module
) -> None:
    """Raise `UnsupportedCallError` if `generate` would give its several answers to a prompt each other's images.

    Releases of transformers before 5.20 copy images one by one and prompts row by row, which fits with one image per
    row only.
    """
    images = arguments.get(family.image_argument)
    if images is None or encodes_before_expanding(model):
        return
    answers = max(options.get("num_beams") or 1, options.get("num_return_sequences") or 1)
    if answers > 1 and len(images) > sum(count > 0 for count in counts):
        raise UnsupportedCallError(_MIXED_UP)


_MIXED_UP = (
    "several images in a prompt, and several beams or samples of it: this release of transformers mixes up the images. "
    "Install a newer transformers, or generate one sequence for each prompt without beams"
)


def check_copies(groups: Sequence[Group]) -> None:
    """Raise `UnsupportedCallError` where copies of a prompt have got each other's images, whoever made them."""
    owners = [row for group in groups for row in group.owners]
    if len(set(owners)) < len(owners):
        raise UnsupportedCallError(_MIXED_UP)


def check_later(cache: Any, shorter: Shorter | None, place: int) -> None:
    """Raise `UnsupportedCallError` for a cache that was not left as the cut left it, or that belongs to another."""
    if not grows_freely(cache) or place >= len(cache.layers):
        return  # it was never cut: calls without images are nothing to do with
    total, behind = cache.get_seq_length(), cache.get_seq_length(place)
    expected = 0 if shorter is None else shorter.rows.before - shorter.rows.length
    if total - behind != expected or (shorter is not None and total < shorter.rows.before):
        raise UnsupportedCallError(
            f"the cache has {total} tokens in front of the cut and {behind} behind it, where {expected} fewer were "
            "expected: it was made under another policy, or tokens were taken back from it (assisted decoding). "
            "Begin anew with the whole prompt"
        )
