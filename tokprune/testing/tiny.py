"""Tiny models to try the built-in adapters on; other adapters bring their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokprune import adapters

Example = Callable[[], tuple[Any, Mapping[str, Any]]]


def _blip() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_crossattention import prompts, tiny_blip

    return tiny_blip(), prompts()


def _blip2() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_blip2 import prompts, tiny_blip2

    return tiny_blip2("opt"), prompts("opt", pads=(0, 0))


def _blip2_retrieval() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_blip2_retrieval import prompts, tiny_blip2_retrieval

    return tiny_blip2_retrieval(), prompts()


def _clip() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_encoders import captions, tiny_clip

    return tiny_clip(), captions()


def _dinov2() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_encoders import pictures, tiny_dinov2

    return tiny_dinov2("Dinov2WithRegistersModel"), pictures()


def _embed(build: str, images: str, *sizes: Any, count: int = 16, **more: Any) -> Example:
    """A model of `tiny_embed` that `build` makes, and two prompts with an image of `count` tokens each."""

    def example() -> tuple[Any, Mapping[str, Any]]:
        from tokprune.testing import tiny_embed

        made = getattr(tiny_embed, images)(*sizes)
        return getattr(tiny_embed, build)(**more), tiny_embed.prompts([[count], [count]], made)

    return example


def _idefics() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_idefics import prompts, tiny_idefics

    return tiny_idefics(), prompts()


def _instructblip() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_instructblip import prompts, tiny_instructblip

    return tiny_instructblip("llama"), prompts("llama", pads=(0, 0), question_pads=(0, 2))


def _instructblipvideo() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_instructblipvideo import prompts, tiny_instructblipvideo

    return tiny_instructblipvideo("llama"), prompts("llama", pads=(0, 0))


def _mllama() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_mllama import prompts, tiny_mllama

    return tiny_mllama(), prompts()


def _qwen2_5_vl() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_qwen import prompts, tiny_qwen2_5_vl

    return tiny_qwen2_5_vl(), prompts()


def _qwen2_vl() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_qwen import prompts, tiny_qwen2_vl

    return tiny_qwen2_vl(), prompts()


def _qwen3_vl() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_qwen import prompts, tiny_qwen3_vl

    return tiny_qwen3_vl(), prompts()


def _siglip() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_encoders import captions, tiny_siglip

    return tiny_siglip(), captions()


def _timm_vit() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_encoders import pictures, tiny_timm

    return tiny_timm(reg_tokens=2), {"x": pictures()["pixel_values"]}


def _vision_encoder_decoder() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_crossattention import pictures, tiny_vision_encoder_decoder

    return tiny_vision_encoder_decoder(), pictures()


def _vit() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_encoders import pictures, tiny_vit

    return tiny_vit(), pictures()


def _whisper() -> tuple[Any, Mapping[str, Any]]:
    from tokprune.testing.tiny_crossattention import sounds, tiny_whisper

    return tiny_whisper(), sounds()


EXAMPLES: Mapping[type, Example] = {
    adapters.AyaVision: _embed("tiny_aya_vision", "pixels", 2),
    adapters.Blip2: _blip2,
    adapters.Blip2Retrieval: _blip2_retrieval,
    adapters.Blip: _blip,
    adapters.Clip: _clip,
    adapters.Dinov2: _dinov2,
    adapters.Gemma3: _embed("tiny_gemma3", "pixels", 2),
    adapters.Idefics2: _embed("tiny_idefics2", "pixels", 2, 1, count=8),
    adapters.Idefics3: _embed("tiny_idefics3", "pixels", 2, 1),
    adapters.Idefics: _idefics,
    adapters.InstructBlip: _instructblip,
    adapters.InstructBlipVideo: _instructblipvideo,
    adapters.InternVl: _embed("tiny_internvl", "pixels", 2),
    adapters.Llava: _embed("tiny_llava", "pixels", 2),
    adapters.LlavaNext: _embed("tiny_llava_next", "tiles", (16, 32), (16, 32), count=14),
    adapters.LlavaOnevision: _embed("tiny_llava_onevision", "tiles", (16, 32), (16, 32), count=14),
    adapters.Mistral3: _embed("tiny_mistral3", "shapes", (16, 16), (16, 16)),
    adapters.Mllama: _mllama,
    adapters.PaliGemma: _embed("tiny_paligemma", "pixels", 2),
    adapters.Qwen25VL: _qwen2_5_vl,
    adapters.Qwen2VL: _qwen2_vl,
    adapters.Qwen3VL: _qwen3_vl,
    adapters.Siglip: _siglip,
    adapters.SmolVlm: _embed("tiny_idefics3", "pixels", 2, 1, smol=True),
    adapters.TimmVit: _timm_vit,
    adapters.VipLlava: _embed("tiny_vipllava", "pixels", 2),
    adapters.VisionEncoderDecoder: _vision_encoder_decoder,
    adapters.Vit: _vit,
    adapters.Whisper: _whisper,
}
"""Adapter class -> a function that makes a tiny model it knows and the keyword arguments of one forward."""
