"""Tiny models to try the built-in adapters on; other adapters bring their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from tokprune import adapters

Example = Callable[[], tuple[Any, Mapping[str, Any]]]


@dataclass(frozen=True)
class _Of:
    """Something that a module beside this one makes; models are built from transformers, imported when it is wanted.

    Args:
        module: the module, such as "blip2" for `tiny_blip2`.
        model: function that builds the model, and its arguments.
        inputs: function that makes the keyword arguments of one forward, and its arguments.
        model_options: keyword arguments of the first.
        options: keyword arguments of the second.
    """

    module: str
    model: Sequence[Any]
    inputs: Sequence[Any] = ("prompts",)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> tuple[Any, Mapping[str, Any]]:
        """The model, and its inputs."""
        module = import_module(f"tokprune.testing.tiny_{self.module}")
        (build, *given), (make, *wanted) = self.model, self.inputs
        return getattr(module, build)(*given, **self.model_options), getattr(module, make)(*wanted, **self.options)


def _embed(model: str, images: str, *sizes: Any, count: int = 16, **options: Any) -> Example:
    """A model of `tiny_embed`, and two prompts with an image of `count` tokens each."""
    return _Of("embed", (model,), ("pair", count, images, *sizes), options)


EXAMPLES: Mapping[type, Example] = {
    adapters.AyaVision: _embed("tiny_aya_vision", "pixels", 2),
    adapters.Blip2: _Of("blip2", ("tiny_blip2", "opt"), ("prompts", "opt"), options={"pads": (0, 0)}),
    adapters.Blip2Retrieval: _Of("blip2_retrieval", ("tiny_blip2_retrieval",)),
    adapters.Blip: _Of("crossattention", ("tiny_blip",)),
    adapters.Clip: _Of("encoders", ("tiny_clip",), ("captions",)),
    adapters.Dinov2: _Of("encoders", ("tiny_dinov2", "Dinov2WithRegistersModel"), ("pictures",)),
    adapters.Gemma3: _embed("tiny_gemma3", "pixels", 2),
    adapters.Idefics2: _embed("tiny_idefics2", "pixels", 2, 1, count=8),
    adapters.Idefics3: _embed("tiny_idefics3", "pixels", 2, 1),
    adapters.Idefics: _Of("idefics", ("tiny_idefics",)),
    adapters.InstructBlip: _Of(
        "instructblip",
        ("tiny_instructblip", "llama"),
        ("prompts", "llama"),
        options={"pads": (0, 0), "question_pads": (0, 2)},
    ),
    adapters.InstructBlipVideo: _Of(
        "instructblipvideo", ("tiny_instructblipvideo", "llama"), ("prompts", "llama"), options={"pads": (0, 0)}
    ),
    adapters.InternVl: _embed("tiny_internvl", "pixels", 2),
    adapters.Llava: _embed("tiny_llava", "pixels", 2),
    adapters.LlavaNext: _embed("tiny_llava_next", "tiles", (16, 32), (16, 32), count=14),
    adapters.LlavaOnevision: _embed("tiny_llava_onevision", "tiles", (16, 32), (16, 32), count=14),
    adapters.Mistral3: _embed("tiny_mistral3", "shapes", (16, 16), (16, 16)),
    adapters.Mllama: _Of("mllama", ("tiny_mllama",)),
    adapters.PaliGemma: _embed("tiny_paligemma", "pixels", 2),
    adapters.Qwen25VL: _Of("qwen", ("tiny_qwen2_5_vl",)),
    adapters.Qwen2VL: _Of("qwen", ("tiny_qwen2_vl",)),
    adapters.Qwen3VL: _Of("qwen", ("tiny_qwen3_vl",)),
    adapters.Siglip: _Of("encoders", ("tiny_siglip",), ("captions",)),
    adapters.SmolVlm: _embed("tiny_idefics3", "pixels", 2, 1, smol=True),
    adapters.TimmVit: _Of("encoders", ("tiny_timm",), ("timm_pictures",), {"reg_tokens": 2}),
    adapters.VipLlava: _embed("tiny_vipllava", "pixels", 2),
    adapters.VisionEncoderDecoder: _Of("crossattention", ("tiny_vision_encoder_decoder",), ("pictures",)),
    adapters.Vit: _Of("encoders", ("tiny_vit",), ("pictures",)),
    adapters.Whisper: _Of("crossattention", ("tiny_whisper",), ("sounds",)),
}
"""Adapter class -> what makes a tiny model it knows and the keyword arguments of one forward. A family is a line."""
