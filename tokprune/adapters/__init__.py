"""Adapters: what knows one model family. Built from seams, so that a family is a few lines.

For an adapter of your own there is the seam between the layers of an image encoder: `LayerCut`, told by an
`EncoderFamily` where the parts of a model are, and by one `AttentionSource` for each layer where its queries and keys
come from. `tokprune new adapter NAME` writes an example.
"""

from tokprune.adapters.encoder import EncoderFamily
from tokprune.adapters.families.blip import Blip
from tokprune.adapters.families.blip2 import Blip2
from tokprune.adapters.families.blip2retrieval import Blip2Retrieval
from tokprune.adapters.families.encoders import Clip, Dinov2, Siglip, Vit
from tokprune.adapters.families.idefics import Idefics
from tokprune.adapters.families.instructblip import InstructBlip
from tokprune.adapters.families.instructblipvideo import InstructBlipVideo
from tokprune.adapters.families.llava import Llava
from tokprune.adapters.families.mllama import Mllama
from tokprune.adapters.families.qwen import Qwen2VL, Qwen3VL, Qwen25VL
from tokprune.adapters.families.timm_vit import TimmVit
from tokprune.adapters.families.visionencoderdecoder import VisionEncoderDecoder
from tokprune.adapters.families.whisper import Whisper
from tokprune.adapters.generic import GenericAdapter
from tokprune.adapters.layercut import ENCODER_SIGNALS, LayerCut
from tokprune.adapters.sources import AttentionSource

__all__ = [
    "ENCODER_SIGNALS",
    "AttentionSource",
    "Blip",
    "Blip2",
    "Blip2Retrieval",
    "Clip",
    "Dinov2",
    "EncoderFamily",
    "GenericAdapter",
    "Idefics",
    "InstructBlip",
    "InstructBlipVideo",
    "LayerCut",
    "Llava",
    "Mllama",
    "Qwen2VL",
    "Qwen3VL",
    "Qwen25VL",
    "Siglip",
    "TimmVit",
    "VisionEncoderDecoder",
    "Vit",
    "Whisper",
]
