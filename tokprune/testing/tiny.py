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


def _blip() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_crossattention import prompts, tiny_blip

    return tiny_blip(), prompts()


def _idefics() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_idefics import prompts, tiny_idefics

    return tiny_idefics(), prompts()


def _mllama() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_mllama import prompts, tiny_mllama

    return tiny_mllama(), prompts()


def _vision_encoder_decoder() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_crossattention import pictures, tiny_vision_encoder_decoder

    return tiny_vision_encoder_decoder(), pictures()


def _whisper() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_crossattention import sounds, tiny_whisper

    return tiny_whisper(), sounds()


EXAMPLES: Mapping[type, Callable[[], tuple[Any, Mapping[str, Any]]]] = {
    adapters.Blip: _blip,
    adapters.Blip2: _blip2,
    adapters.Idefics: _idefics,
    adapters.InstructBlip: _instructblip,
    adapters.Mllama: _mllama,
    adapters.VisionEncoderDecoder: _vision_encoder_decoder,
    adapters.Whisper: _whisper,
}
"""Adapter class -> a function that makes a tiny model it knows and the keyword arguments of one forward."""
