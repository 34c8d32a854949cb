"""Real sizes by name: configurations of published models, to be measured with random weights, whole or scaled down.

Time, memory and arithmetic depend on shapes, not on what the weights say. So a model of the right shape is enough to
measure what pruning gains, and nothing has to be downloaded.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from tokprune.errors import InvalidValueError, UnknownNameError

QUERY_TOKENS = 32
IMAGE_SIZE = 224
PATCH_SIZE = 14


@dataclass(frozen=True)
class RealSize:
    """A published model whose shape is known here.

    Args:
        hub_id: Where the trained one is.
        family: `"blip-2"` or `"instructblip"`: transformers' `model_type`.
        text: Scale -> the language model's configuration.
        image_token: Id of the placeholder that each query token takes in the prompt.
    """

    hub_id: str
    family: str
    text: Callable[[Fraction], dict[str, Any]]
    image_token: int


def parse_size(text: str) -> tuple[str, Fraction]:
    """Name and scale of a size as it is typed: `"blip2-opt-2.7b"`, `"blip2-opt-2.7b:scale=0.25"`, `"...:scale=1/4"`.

    Raises:
        UnknownNameError: There is no such size; the nearest is named.
        InvalidValueError: What stands behind the colon is not `scale=` and a number in (0, 1].

    Example:
        >>> parse_size("blip2-opt-2.7b:scale=0.25")
        ('blip2-opt-2.7b', Fraction(1, 4))
    """
    name, colon, option = text.partition(":")
    if name not in REAL_SIZES:
        close = difflib.get_close_matches(name, REAL_SIZES, n=1)
        nearest = f"; did you mean {close[0]!r}" if close else ""
        raise UnknownNameError(f"no size is called {name!r}{nearest}. The sizes are {', '.join(REAL_SIZES)}")
    if not colon:
        return name, Fraction(1)
    key, _, value = option.partition("=")
    try:
        scale = Fraction(value)
    except (ValueError, ZeroDivisionError):
        scale = Fraction(0)
    if key != "scale" or not 0 < scale <= 1:
        raise InvalidValueError(
            f"size {text!r}: expected '{name}:scale=' and a number in (0, 1], such as {name}:scale=1/4"
        )
    return name, scale


def real_size_config(text: str) -> Any:
    """The transformers configuration of a size, such as `"blip2-opt-2.7b"` or `"blip2-opt-2.7b:scale=0.25"`.

    A scale below 1 makes every part narrower (fewer attention heads of the same size) and shallower (fewer layers) by
    this factor, so that parameters and arithmetic fall with its third power. What does not change are the numbers of
    tokens: 257 image tokens, 32 query tokens, the vocabulary.

    Raises:
        UnknownNameError: There is no such size.
        InvalidValueError: The scale is not in (0, 1].

    Example:
        >>> config = real_size_config("blip2-opt-2.7b")
        >>> config.vision_config.num_hidden_layers, config.vision_config.hidden_size
        (39, 1408)
    """
    from transformers import Blip2Config, InstructBlipConfig

    name, scale = parse_size(text)
    size = REAL_SIZES[name]
    config_class = {"blip-2": Blip2Config, "instructblip": InstructBlipConfig}[size.family]
    return config_class(
        vision_config={
            **_shape(scale, layers=39, heads=16, head_dim=88),
            "intermediate_size": _part(6144, scale),
            "image_size": IMAGE_SIZE,
            "patch_size": PATCH_SIZE,
        },
        qformer_config={
            **_shape(scale, layers=12, heads=12, head_dim=64),
            "intermediate_size": _part(3072, scale),
            "cross_attention_frequency": 2,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        text_config=size.text(scale),
        num_query_tokens=QUERY_TOKENS,
        image_token_index=size.image_token,
    )


def _part(number: int, scale: Fraction) -> int:
    return max(1, round(number * scale))


def _shape(scale: Fraction, *, layers: int, heads: int, head_dim: int) -> dict[str, Any]:
    heads = _part(heads, scale)
    return {
        "num_hidden_layers": _part(layers, scale),
        "num_attention_heads": heads,
        "hidden_size": heads * head_dim,
    }


def _opt_2_7b(scale: Fraction) -> dict[str, Any]:
    shape = _shape(scale, layers=32, heads=32, head_dim=80)
    return {
        "model_type": "opt",
        **shape,
        "word_embed_proj_dim": shape["hidden_size"],
        "ffn_dim": _part(10240, scale),
        "vocab_size": 50304,
        "max_position_embeddings": 2048,
        "bos_token_id": 2,
        "pad_token_id": 1,
        "eos_token_id": 50118,
        "dropout": 0.0,
    }


def _flan_t5_xl(scale: Fraction) -> dict[str, Any]:
    shape = _shape(scale, layers=24, heads=32, head_dim=64)
    return {
        "model_type": "t5",
        "d_model": shape["hidden_size"],
        "num_layers": shape["num_hidden_layers"],
        "num_decoder_layers": shape["num_hidden_layers"],
        "num_heads": shape["num_attention_heads"],
        "d_kv": 64,
        "d_ff": _part(5120, scale),
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "vocab_size": 32128,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "dropout_rate": 0.0,
    }


def _vicuna_7b(scale: Fraction) -> dict[str, Any]:
    return {
        "model_type": "llama",
        **_shape(scale, layers=32, heads=32, head_dim=128),
        "intermediate_size": _part(11008, scale),
        "vocab_size": 32001,
        "max_position_embeddings": 2048,
        "bos_token_id": 1,
        "pad_token_id": 0,
        "eos_token_id": 2,
    }


REAL_SIZES: Mapping[str, RealSize] = MappingProxyType(
    {
        "blip2-opt-2.7b": RealSize("Salesforce/blip2-opt-2.7b", "blip-2", _opt_2_7b, 50265),
        "blip2-flan-t5-xl": RealSize("Salesforce/blip2-flan-t5-xl", "blip-2", _flan_t5_xl, 32100),
        "instructblip-vicuna-7b": RealSize("Salesforce/instructblip-vicuna-7b", "instructblip", _vicuna_7b, 32000),
    }
)
"""The sizes that can be asked for by name."""
