"""The names of transformers that tokprune relies on, and what differs between its supported releases, in one place."""

from __future__ import annotations

import copy
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

CACHE_NAMES = ("cache", "past_key_values")
"""What the cache of keys and values is called in arguments and outputs: since 5.24, and before."""
CACHE_IN_WORDS = "the given cache (cache=, called past_key_values before transformers 5.24)"
"""What messages call it, so that users of any release find it in their own code."""

IMAGE_SIZES = ("image_grid_thw", "image_sizes", "aspect_ratio_ids")
"""Inputs by which images of one model differ in how many tokens they have."""


SEQUENCES = ("inputs_embeds", "encoder_hidden_states", "key_value_states", "cross_attention_states")
"""Arguments that bring a sequence of vectors to what reads it."""
MEDIA = ("pixel_values", "pixel_values_videos", "input_features", "mm_encoder_outputs")
"""Arguments that carry images, video or sound, or what was made of them earlier."""
PACKED = "cu_seq_lens_q"
"""What attention is given where a sequence packs several: where each begins, and the end."""
INPUT_NORMS = ("input_layernorm", "self_attn_layer_norm", "layer_norm")
"""The norm in front of the self-attention of a language model's layer: Llama's and its kind, OPT's, T5's."""
KEY_AND_VALUE = (("k_proj", "v_proj"), ("k", "v"))
"""The projections of that self-attention."""
USED_LAYERS = ("vision_feature_layers", "vision_feature_layer")
"""What says which layers of the image encoder are used, in the configuration and as an argument; the first of them that
the release's configuration has."""
USED_TOKENS = "vision_feature_select_strategy"
"""What says whether the encoder's [CLS] is left out ("default") or is an image token ("full")."""


def used_of_encoder(config: Any, arguments: Sequence[str]) -> dict[str, Any]:
    """Those of `arguments` that say what of the image encoder is used, as the configuration has them."""
    found = {}
    layers = [name for name in USED_LAYERS if name in arguments]
    if layers:
        chosen = getattr(config, next((name for name in layers if hasattr(config, name)), layers[-1]))
        found = dict.fromkeys(layers, chosen)
    if USED_TOKENS in arguments:
        found[USED_TOKENS] = getattr(config, USED_TOKENS)
    return found


CROSSED = ("encoder_hidden_states", "key_value_states", "cross_attention_states")
"""The argument of a cross-attention that brings what its keys and values are made of."""
CROSSED_MASKS = ("encoder_attention_mask", "attention_mask")
"""The argument of a cross-attention with the mask of those; the first of them that it takes."""
VIDEOS = "pixel_values_videos"
ENCODER_OUTPUTS = "encoder_outputs"

ENCODED = "mm_encoder_outputs"
"""Argument that brings features which were computed earlier."""
ENCODED_EARLIER = "image_hidden_states"
"""The same in releases before 5.20, of Idefics2, Idefics3 and SmolVLM."""
OPTIONS = (
    "use_cache",
    "cache_implementation",
    "prompt_lookup_num_tokens",
    "prefill_chunk_size",
    "max_length",
    "max_new_tokens",
    "min_length",
    "min_new_tokens",
    "num_beams",
    "num_return_sequences",
)
"""Options of a generation that are looked at: under another name they would be overlooked."""


def since(release: str) -> bool:
    """Whether the installed transformers is `release` ("5.20") or newer; pre-releases of it count."""
    installed = getattr(sys.modules.get("transformers"), "__version__", "0")
    found = [int(part) for part in re.findall(r"\d+", installed)[:2]]
    return found >= [int(part) for part in release.split(".")]


USER_LISTS = ("logits_processor", "stopping_criteria")
"""Arguments of `generate` that are lists of the user's objects, each called with all ids so far."""
PREFIX_FUNCTION = "prefix_allowed_tokens_fn"
"""The argument of `generate` that is called with a row's number and its ids so far."""
STREAMER = "streamer"
"""The argument of `generate` whose `put` gets the prompt and then the new tokens."""
NEGATIVE_PROMPT = ("negative_prompt_ids", "negative_prompt_attention_mask")
"""Arguments of `generate` that have a row for each row of the prompt, and are about another prompt."""
MERGE_LISTS = "_merge_criteria_processor_list"
"""The method of a generating model that joins its own processors or criteria with the user's, by their types."""


FEATURE_METHODS = ("get_image_features", "get_video_features")
"""Methods in which a model runs its image encoder."""


def places_by_row_and_column(model: nn.Module) -> bool:
    """Whether a model works out the positions of a prompt from the rows and columns of its images, as Qwen-VL does."""
    return any(hasattr(part, "get_rope_index") for part in (model, getattr(model, "model", None)))


def cache_in(arguments: Mapping[str, Any]) -> Any:
    """The cache of keys and values in the arguments of a call, under whichever name it came; None if there is none."""
    return next((found for name in CACHE_NAMES if (found := arguments.get(name)) is not None), None)


def cache_argument(method: Callable[..., Any]) -> str:
    """What `method` calls the cache of keys and values; the newest name if it takes none by name."""
    names = inspect.signature(method).parameters
    return next((name for name in CACHE_NAMES if name in names), CACHE_NAMES[0])


def cache_of(output: Any) -> Any:
    """The cache in what a decoder returned, by name or in a tuple; None if there is none."""
    # An output that has the newer name warns when it is asked for the older.
    found = next((getattr(output, name) for name in CACHE_NAMES if hasattr(output, name)), None)
    if found is None and isinstance(output, tuple):
        found = next((value for value in output if hasattr(value, "get_seq_length")), None)
    return found


def shift_length_limits(kwargs: dict[str, Any], model_config: Any, dropped: int) -> dict[str, Any]:
    """Let `max_length` and `min_length` of a decoder-only `generate` mean the same number of new tokens as before.

    Both count the prompt, and the prompt has become shorter by `dropped`. A limit can come from the call, from a
    `generation_config` in the call, or (in releases where the model's own default is None) from the model's config.
    """
    given = kwargs.get("generation_config")
    changed = dict(kwargs)
    for limit, newer in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        if any(_limit(place, newer) is not None for place in (kwargs, given, model_config)):
            continue  # counts new tokens only, and wins over the other
        if kwargs.get(limit) is not None:
            changed[limit] = max(kwargs[limit] - dropped, 0)
        elif _limit(given, limit):
            if changed["generation_config"] is given:
                changed["generation_config"] = copy.deepcopy(given)
            setattr(changed["generation_config"], limit, max(_limit(given, limit) - dropped, 0))
        elif _limit(model_config, limit) and _default_is_none(model_config, limit):
            changed[limit] = max(_limit(model_config, limit) - dropped, 0)
    return changed


def recomputes_hooks(layer: nn.Module) -> bool:
    """Whether gradient checkpointing is on for `layer` and runs its hooks again in backward (releases before 5.23)."""
    if not (layer.training and getattr(layer, "gradient_checkpointing", False)):
        return False
    return any("__call__" in vars(cls) for cls in type(layer).__mro__ if cls not in nn.Module.__mro__)


def encodes_before_expanding(model: Any) -> bool:
    """Whether `generate` encodes images once and then expands their features for beams (5.20 and later).

    Releases before expand the images, and have them encoded once for each beam.
    """
    return ENCODED in inspect.signature(model.forward).parameters


def mixes_up_images(model: Any, encoded: int, rows: Sequence[int]) -> bool:
    """Whether `generate` would give beams of a row the images of other rows.

    Releases before 5.20 repeat each image as often as there are beams, where all images of a row should be repeated one
    after the other. Models that repeat images in a way of their own do it rightly.

    Args:
        model: whose `generate` it is.
        encoded: the length of the images' first dimension.
        rows: the row of each image.
    """
    if encodes_before_expanding(model) or "_expand_inputs_for_generation" in vars(type(model)):
        return False
    return encoded == len(rows) and len(set(rows)) < len(rows)


def inferred_mask(model: Any, arguments: Mapping[str, Any]) -> Tensor:
    """The attention mask that `generate` makes up for a prompt of ids that comes without one."""
    ids: Tensor = arguments["input_ids"]
    places = (arguments, arguments.get("generation_config"), model.generation_config)
    pad, eos = (next((_limit(p, n) for p in places if _limit(p, n) is not None), None) for n in _SPECIAL)
    if pad is None or bool((torch.as_tensor([] if eos is None else eos) == pad).any()):
        return torch.ones_like(ids)
    mask: Tensor = (ids != pad).long()
    return mask


def deepstack(output: Any, counts: Sequence[int]) -> list[list[Tensor]]:
    """Features for later layers of the language model, of each layer and image; the images have `counts` tokens.

    Releases before 5.20 join all images.
    """
    layers = getattr(output, "deepstack_features", None) or ()
    return [list(torch.split(layer, list(counts)) if isinstance(layer, Tensor) else layer) for layer in layers]


def with_deepstack(output: Any, layers: Sequence[Sequence[Tensor]]) -> Any:
    """`output` with other features for later layers, in the form that it has them."""
    if layers:
        joined = isinstance(output.deepstack_features[0], Tensor)
        output.deepstack_features = [torch.cat(list(layer)) if joined else tuple(layer) for layer in layers]
    return output


def own_loss(model: Any, logits: Tensor, labels: Tensor, options: Mapping[str, Any]) -> Tensor:
    """The loss that a model with a language model computes of its logits `[row sequence word]` and labels itself."""
    loss: Tensor = model.loss_function(logits=logits, labels=labels, vocab_size=logits.shape[-1], **options)
    return loss


_SPECIAL = ("pad_token_id", "eos_token_id")


def _limit(place: Any, name: str) -> Any:
    return place.get(name) if isinstance(place, dict) else getattr(place, name, None)


def _default_is_none(config: Any, name: str) -> bool:
    # Older releases treat the model's own max_length (20 by default) as a number of new tokens.
    return getattr(type(config)(), name, None) is None


def cache_lengths(cache: Any) -> list[int]:
    """How many tokens each layer of a cache holds: of an encoder-decoder's, each layer of its cross-attention."""
    cache = getattr(cache, "cross_attention_cache", cache)
    return [int(layer.get_seq_length()) for layer in getattr(cache, "layers", None) or ()]


GROWING = (None, "dynamic", "dynamic_full", "offloaded")
"""Values of `cache_implementation` with which `generate` makes a cache that grows freely."""


def grows_freely(cache: Any, windows: bool = False) -> bool:
    """Whether a cache keeps, for each layer, what it was given: no fixed size and no rounding.

    Args:
        cache: the cache.
        windows: whether a layer may keep the last of it alone.
    """
    known = sys.modules.get("transformers.cache_utils")
    if known is not None and type(cache) is known.EncoderDecoderCache:
        return grows_freely(cache.self_attention_cache) and grows_freely(cache.cross_attention_cache)
    if known is None or type(cache) is not known.DynamicCache:
        return False
    kinds = (known.DynamicLayer, known.DynamicSlidingWindowLayer)[: 1 + windows]
    return all(type(layer) in kinds for layer in cache.layers)


def _chosen_rows(values: Tensor, chosen: Any) -> Tensor:
    return values[chosen.to(values.device) if isinstance(chosen, Tensor) else chosen]


ROW_CHANGES: Mapping[str, Callable[[Tensor, Any], Tensor]] = {
    "reorder_cache": _chosen_rows,
    "batch_select_indices": _chosen_rows,
    "batch_repeat_interleave": lambda values, repeats: values.repeat_interleave(repeats, dim=0),
}
"""Methods of a cache that change which rows it has -> what they do to a tensor `[row ...]`, given their argument."""


def rows_in(cache: Any) -> int | None:
    """How many rows a cache of keys and values has; None where it does not say."""
    own = getattr(cache, "self_attention_cache", cache)
    keys = (getattr(layer, "keys", None) for layer in getattr(own, "layers", ()))
    found = next((each for each in keys if isinstance(each, Tensor) and each.dim() == 4), None)
    return None if found is None else len(found)


def comes_with_transformers(user: Any) -> bool:
    """Whether an object is of a class that transformers itself defines."""
    return type(user).__module__.partition(".")[0] == "transformers"


def asks_model(processor: Any) -> bool:
    """Whether a logits processor of transformers calls the model: classifier-free guidance does."""
    return comes_with_transformers(processor) and isinstance(getattr(processor, "model", None), nn.Module)


def with_length_limit(criterion: Any, dropped: int) -> Any:
    """The stopping criterion of transformers that limits the length, for a prompt that is shorter by `dropped`.

    None for any other object. `generate` itself reads its limit, and so it has to be that of what it generates.
    """
    known = sys.modules.get("transformers.generation.stopping_criteria")
    if known is None or type(criterion) is not known.MaxLengthCriteria:
        return None
    shifted = copy.copy(criterion)
    shifted.max_length = criterion.max_length - dropped
    return shifted


def added_mask(attention: Any) -> tuple[str, str | None] | None:
    """How an attention module that is none of transformers' interface takes a mask that it adds to its logits.

    The name of that argument, and of the one that brings what keys are made of (None: its first); None if it takes no
    such mask, or is not known.
    """
    kind = type(attention)
    taken = inspect.signature(kind.forward).parameters
    if kind.__module__.startswith("timm.") and kind.__name__ in ("Attention", "AttentionPoolLatent"):
        return ("attn_mask", None) if "attn_mask" in taken else None
    if kind.__module__.startswith("transformers.") and (hasattr(attention, "k_proj") or hasattr(attention, "key")):
        states = next((name for name in CROSSED if name in taken), None)  # BLIP's text, TrOCR
        mask = next((name for name in CROSSED_MASKS if name in taken), None)
        return None if states is None or mask is None else (mask, states)
    return None


ATTENTION_FUNCTIONS = "ALL_ATTENTION_FUNCTIONS"
"""Where an attention module looks up the function that computes attention, by a name in its configuration."""


def attention_functions() -> Any:
    """transformers' attention functions by name. Asked only for a model of transformers, so it is imported already."""
    return getattr(sys.modules["transformers.modeling_utils"], ATTENTION_FUNCTIONS)


def name_attention(chosen: str | None) -> str:
    """The name under which the tap stands in for the implementation `chosen`; "flash" stays in it, for models ask."""
    return f"tokprune+{chosen or 'eager'}"


LAYER_STATES, LAYER_MASK, LAYER_BIAS = "hidden_states", "attention_mask", "position_bias"
"""Arguments of a layer of a language model: its tokens, which see which, and what is added to logits beside that."""
LAYER_POSITIONS = ("position_ids", "position_embeddings")
"""Arguments of such a layer that say something of each position."""
DEEPSTACK = "_deepstack_process"
"""The method of a language model that adds features of the image encoder after some of its layers."""
READ_BY_DECODER = ("encoder_hidden_states", "encoder_attention_mask")
"""Arguments of a decoder that bring what the encoder gave, and which of it is no padding."""


def layer_kinds(config: Any, depth: int) -> list[str]:
    """What each layer of a language model sees: "full_attention", "sliding_attention" or another name."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return list(kinds)[:depth]
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return ["full_attention" if window is None else "sliding_attention"] * depth


def windows_of(config: Any, kinds: Sequence[str]) -> list[int | None]:
    """How many tokens, its own included, a token of each layer sees; None for all."""
    return [config.sliding_window if kind == "sliding_attention" else None for kind in kinds]


def mask_form(config: Any, states: Tensor) -> torch.dtype:
    """The type of the masks that a language model's attention reads: added to the logits, or bool."""
    return states.dtype if config._attn_implementation == "eager" else torch.bool


def cached_keys(cache: Any, layer: int) -> int:
    """How many keys a layer of a cache remembers: of a layer with a window, its last ones."""
    keys = getattr(cache.layers[layer], "keys", None) if layer < len(cache.layers) else None
    return 0 if keys is None or not keys.numel() else int(keys.shape[-2])


ATTENDS_ITSELF = "reorder_and_upcast_attn"
"""Attribute of an attention module that computes attention by itself, although it could look up a function for it."""
