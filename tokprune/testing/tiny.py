"""Tiny models to try the built-in adapters on; other adapters bring their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokprune import adapters

Example = Callable[[], tuple[Any, Mapping[str, Any]]]


def _blip2() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_blip2 import prompts, tiny_blip2

    return tiny_blip2("opt"), prompts("opt", pads=(0, 0))


def _instructblip() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_instructblip import prompts, tiny_instructblip

    return tiny_instructblip("llama"), prompts("llama", pads=(0, 0), question_pads=(0, 2))


def _embed(build: str, images: str, *sizes: Any, count: int = 16, **more: Any) -> Example:
    """A model of `tiny_embed` that `build` makes, and two prompts with an image of `count` tokens each."""

    def example() -> tuple[Any, Mapping[str, Any]]:
        from tokprune.testing import tiny_embed

        made = getattr(tiny_embed, images)(*sizes)
        return getattr(tiny_embed, build)(**more), tiny_embed.prompts([[count], [count]], made)

    return example


EXAMPLES: Mapping[type, Example] = {
    adapters.AyaVision: _embed("tiny_aya_vision", "pixels", 2),
    adapters.Blip2: _blip2,
    adapters.Gemma3: _embed("tiny_gemma3", "pixels", 2),
    adapters.Idefics2: _embed("tiny_idefics2", "pixels", 2, 1, count=8),
    adapters.Idefics3: _embed("tiny_idefics3", "pixels", 2, 1),
    adapters.InstructBlip: _instructblip,
    adapters.InternVl: _embed("tiny_internvl", "pixels", 2),
    adapters.Llava: _embed("tiny_llava", "pixels", 2),
    adapters.LlavaNext: _embed("tiny_llava_next", "tiles", (16, 32), (16, 32), count=14),
    adapters.LlavaOnevision: _embed("tiny_llava_onevision", "tiles", (16, 32), (16, 32), count=14),
    adapters.Mistral3: _embed("tiny_mistral3", "shapes", (16, 16), (16, 16)),
    adapters.PaliGemma: _embed("tiny_paligemma", "pixels", 2),
    adapters.SmolVlm: _embed("tiny_idefics3", "pixels", 2, 1, smol=True),
    adapters.VipLlava: _embed("tiny_vipllava", "pixels", 2),
}
"""Adapter class -> a function that makes a tiny model it knows and the keyword arguments of one forward."""
