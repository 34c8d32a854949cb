"""Adapters: what knows one model family. Built from three mechanisms, so that a family is a few lines.

An adapter of your own prunes between the layers of an image encoder by `EncoderPruning`, and says in an `EncoderFamily`
where the parts of a model are, with the attention that `find_attention` finds; or between the layers of a language
model by `DecoderCut`, with a `PromptFamily`. `tokprune new adapter NAME` writes an example.
"""

from tokprune.adapters.attention import find_attention
from tokprune.adapters.decoder.cut import INSIDE_SIGNALS, DecoderCut
from tokprune.adapters.families.blip import Blip
from tokprune.adapters.families.blip2 import Blip2
from tokprune.adapters.families.blip2retrieval import Blip2Retrieval
from tokprune.adapters.families.encoders import Clip, Dinov2, Siglip, Vit
from tokprune.adapters.families.gemma import Gemma3, PaliGemma
from tokprune.adapters.families.idefics import Idefics
from tokprune.adapters.families.idefics2 import Idefics2, Idefics3, SmolVlm
from tokprune.adapters.families.instructblip import InstructBlip
from tokprune.adapters.families.instructblipvideo import InstructBlipVideo
from tokprune.adapters.families.internvl import AyaVision, InternVl
from tokprune.adapters.families.llava import Llava, VipLlava
from tokprune.adapters.families.llavatiles import LlavaNext, LlavaOnevision
from tokprune.adapters.families.mistral3 import Mistral3
from tokprune.adapters.families.mllama import Mllama
from tokprune.adapters.families.qwen import Qwen2VL, Qwen3VL, Qwen25VL
from tokprune.adapters.families.timm_vit import TimmVit
from tokprune.adapters.families.visionencoderdecoder import VisionEncoderDecoder
from tokprune.adapters.families.whisper import Whisper
from tokprune.adapters.generic import GenericAdapter
from tokprune.adapters.output.encoder import ENCODER_SIGNALS, EncoderPruning
from tokprune.adapters.output.family import EncoderFamily
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.sources import AttentionSource

__all__ = [
    "ENCODER_SIGNALS",
    "INSIDE_SIGNALS",
    "AttentionSource",
    "AyaVision",
    "Blip",
    "Blip2",
    "Blip2Retrieval",
    "Clip",
    "DecoderCut",
    "Dinov2",
    "EncoderFamily",
    "EncoderPruning",
    "Gemma3",
    "GenericAdapter",
    "Idefics",
    "Idefics2",
    "Idefics3",
    "InstructBlip",
    "InstructBlipVideo",
    "InternVl",
    "Llava",
    "LlavaNext",
    "LlavaOnevision",
    "Mistral3",
    "Mllama",
    "PaliGemma",
    "PromptFamily",
    "Qwen2VL",
    "Qwen3VL",
    "Qwen25VL",
    "Siglip",
    "SmolVlm",
    "TimmVit",
    "VipLlava",
    "VisionEncoderDecoder",
    "Vit",
    "Whisper",
    "find_attention",
]
