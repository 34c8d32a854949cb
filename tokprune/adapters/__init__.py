"""Adapters: what knows one model family. Built from three mechanisms, so that a family is a few lines.

An adapter of your own is a row: `EmbedMergeAdapter` for a model with features of images in its prompt (prompt pruning
and decoder pruning), `CrossAttentionAdapter` with a `CrossFamily` for a decoder that cross-attends to an encoder,
`EncoderPruning` with an `EncoderFamily` between the layers of an image encoder. `find_attention` finds their attention.
`tokprune new adapter NAME` writes an example.
"""

from tokprune.adapters.attention import find_attention
from tokprune.adapters.crossing.family import CrossFamily, find_crossings
from tokprune.adapters.decoder.cut import INSIDE_SIGNALS, DecoderCut
from tokprune.adapters.families.blip import Blip
from tokprune.adapters.families.blip2 import Blip2
from tokprune.adapters.families.blip2retrieval import Blip2Retrieval
from tokprune.adapters.families.crossattention import CrossAttentionAdapter
from tokprune.adapters.families.embedmerge import EmbedMergeAdapter
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
    "CrossAttentionAdapter",
    "CrossFamily",
    "DecoderCut",
    "Dinov2",
    "EmbedMergeAdapter",
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
    "find_crossings",
]
