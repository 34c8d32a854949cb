"""The built-in components, registered through the same hooks as any plugin's."""

from __future__ import annotations

from collections.abc import Mapping

from tokprune import adapters, aggregators, reductions, scorers, selectors
from tokprune.hookspecs import hookimpl


@hookimpl
def register_scorers() -> Mapping[str, type]:
    """Built-in scorers."""
    return {
        "catp-vote": scorers.CatpVote,
        "catp-weighted": scorers.CatpWeighted,
        "distinct": scorers.Distinct,
        "first": scorers.First,
        "focus": scorers.Focus,
        "l2-norm": scorers.L2Norm,
        "random": scorers.Random,
        "received-attention": scorers.ReceivedAttention,
        "self-attention": scorers.SelfAttention,
        "stride": scorers.Stride,
        "text-attention": scorers.TextAttention,
    }


@hookimpl
def register_aggregators() -> Mapping[str, type]:
    """Built-in aggregators."""
    return {
        "borda": aggregators.Borda,
        "copeland": aggregators.Copeland,
        "max": aggregators.Maximum,
        "mean": aggregators.Mean,
        "plurality": aggregators.Plurality,
        "sum": aggregators.Total,
    }


@hookimpl
def register_selectors() -> Mapping[str, type]:
    """Built-in selectors."""
    return {"top-k": selectors.TopK, "top-p": selectors.TopP}


@hookimpl
def register_reductions() -> Mapping[str, type]:
    """Built-in reductions."""
    return {"mask": reductions.Mask, "merge": reductions.Merge, "prune": reductions.Prune}


@hookimpl
def register_adapters() -> Mapping[str, type]:
    """Built-in adapters."""
    return {
        "aya-vision": adapters.AyaVision,
        "blip": adapters.Blip,
        "blip2": adapters.Blip2,
        "blip2-retrieval": adapters.Blip2Retrieval,
        "clip": adapters.Clip,
        "dinov2": adapters.Dinov2,
        "gemma3": adapters.Gemma3,
        "idefics": adapters.Idefics,
        "idefics2": adapters.Idefics2,
        "idefics3": adapters.Idefics3,
        "instructblip": adapters.InstructBlip,
        "instructblip-video": adapters.InstructBlipVideo,
        "internvl": adapters.InternVl,
        "llava": adapters.Llava,
        "llava-next": adapters.LlavaNext,
        "llava-onevision": adapters.LlavaOnevision,
        "mistral3": adapters.Mistral3,
        "mllama": adapters.Mllama,
        "paligemma": adapters.PaliGemma,
        "qwen2-5-vl": adapters.Qwen25VL,
        "qwen2-vl": adapters.Qwen2VL,
        "qwen3-vl": adapters.Qwen3VL,
        "siglip": adapters.Siglip,
        "smolvlm": adapters.SmolVlm,
        "timm-vit": adapters.TimmVit,
        "vipllava": adapters.VipLlava,
        "vision-encoder-decoder": adapters.VisionEncoderDecoder,
        "vit": adapters.Vit,
        "whisper": adapters.Whisper,
    }
