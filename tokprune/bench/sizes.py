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

from tokprune.bench.blipsizes import blip, flan_t5_xl, opt_2_7b, vicuna_7b
from tokprune.bench.promptsizes import llama_3_2_11b_vision, llava_1_5_7b, qwen2_5_vl_7b
from tokprune.errors import InvalidValueError, UnknownNameError


@dataclass(frozen=True)
class RealSize:
    """A published model whose shape is known here.

    Args:
        hub_id: Where the trained one is.
        config: Scale -> transformers' configuration.
    """

    hub_id: str
    config: Callable[[Fraction], Any]


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
    tokens, and the vocabulary: a BLIP-2 has 257 image tokens and 32 query tokens at any scale, LLaVA-1.5
    576 image tokens.

    Raises:
        UnknownNameError: There is no such size.
        InvalidValueError: The scale is not in (0, 1].

    Example:
        >>> config = real_size_config("blip2-opt-2.7b")
        >>> config.vision_config.num_hidden_layers, config.vision_config.hidden_size
        (39, 1408)
    """
    name, scale = parse_size(text)
    return REAL_SIZES[name].config(scale)


REAL_SIZES: Mapping[str, RealSize] = MappingProxyType(
    {
        "blip2-opt-2.7b": RealSize("Salesforce/blip2-opt-2.7b", blip("Blip2Config", opt_2_7b, 50265)),
        "blip2-flan-t5-xl": RealSize("Salesforce/blip2-flan-t5-xl", blip("Blip2Config", flan_t5_xl, 32100)),
        "instructblip-vicuna-7b": RealSize(
            "Salesforce/instructblip-vicuna-7b", blip("InstructBlipConfig", vicuna_7b, 32000)
        ),
        "llava-1.5-7b": RealSize("llava-hf/llava-1.5-7b-hf", llava_1_5_7b),
        "qwen2.5-vl-7b": RealSize("Qwen/Qwen2.5-VL-7B-Instruct", qwen2_5_vl_7b),
        "llama-3.2-11b-vision": RealSize("meta-llama/Llama-3.2-11B-Vision", llama_3_2_11b_vision),
    }
)
"""The sizes that can be asked for by name."""
