"""Tiny models to try the built-in adapters on; other adapters bring their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokprune import adapters


def _blip2() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_blip2 import prompts, tiny_blip2

    return tiny_blip2("opt"), prompts("opt", pads=(0, 0))


def _instructblip() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_instructblip import prompts, tiny_instructblip

    return tiny_instructblip("llama"), prompts("llama", pads=(0, 0), question_pads=(0, 2))


def _llava() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_embed import pixels, prompts, tiny_llava

    return tiny_llava(), prompts([[16], [16]], pixels(2))


def _qwen2_vl() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_qwen import prompts, tiny_qwen2_vl

    return tiny_qwen2_vl(), prompts()


def _qwen2_5_vl() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_qwen import prompts, tiny_qwen2_5_vl

    return tiny_qwen2_5_vl(), prompts()


def _qwen3_vl() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_qwen import prompts, tiny_qwen3_vl

    return tiny_qwen3_vl(), prompts()


EXAMPLES: Mapping[type, Callable[[], tuple[Any, Mapping[str, Any]]]] = {
    adapters.Blip2: _blip2,
    adapters.InstructBlip: _instructblip,
    adapters.Llava: _llava,
    adapters.Qwen2VL: _qwen2_vl,
    adapters.Qwen25VL: _qwen2_5_vl,
    adapters.Qwen3VL: _qwen3_vl,
}
"""Adapter class -> a function that makes a tiny model it knows and the keyword arguments of one forward."""
