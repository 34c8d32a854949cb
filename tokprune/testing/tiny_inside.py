"""Tiny random LLaVAs deep enough to be cut inside the language model, whose attention there is far from uniform."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration

from tokprune.testing.tiny_blip2 import SPREAD, randomise

IMAGE, TOKENS, PAD = 90, 16, 0
"""Id of the placeholder, image tokens of one picture, id of padding."""
DEPTH = 4
"""Layers of the language model."""
LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {},
    "windowed mistral": {"model_type": "mistral", "sliding_window": 9},
    "gemma2": {"sliding_window": 9, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 4.0},
    "gemma3": {
        "model_type": "gemma3_text",
        "sliding_window": 9,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
    },
    "phi": {"partial_rotary_factor": 0.5},
}
"""The kinds that are tried, and what their configurations have beside the common. Gemma 2 caps its logits, so it needs
attention "eager"."""


def tiny_inside(kind: str = "llama", attention: str = "sdpa", seed: int = 0, shapes: bool = False) -> Any:
    """A random LLaVA in eval mode with a language model of 4 layers, where two heads share their keys.

    Args:
        kind: the language model.
        attention: attention implementation.
        seed: of its weights.
        shapes: whether its image encoder (Pixtral's instead of CLIP's) takes pictures of any shape.

    Example:
        >>> tuple(tiny_inside()(**prompts()).logits.shape)
        (2, 25, 99)
    """
    vision: dict[str, Any] = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 16,
        "patch_size": 4,
    }
    text: dict[str, Any] = {
        "model_type": kind,
        "vocab_size": 99,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "pad_token_id": PAD,
        "bos_token_id": 1,
        "eos_token_id": None,
        "max_position_embeddings": 256,
    }
    text |= LANGUAGE_MODELS[kind]
    if shapes:
        vision |= {"model_type": "pixtral", "head_dim": 8, "image_size": 32}
    whole = {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"} if shapes else {}
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE, **whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: Any = LlavaForConditionalGeneration._from_config(config, attn_implementation=attention)
    _randomise(model, seed, shaped() if shapes else prompts(pads=(0, 0)))
    return model


@torch.no_grad()
def _randomise(model: Any, seed: int, inputs: dict[str, Tensor]) -> None:
    randomise(model, seed)
    model.eval()
    for layer in model.model.language_model.layers:
        attention = layer.self_attn
        last = attention.q_norm if hasattr(attention, "q_norm") else attention.q_proj
        logits = _logits(model, attention, inputs)
        factor = SPREAD / logits[logits.isfinite()].std()
        for name in ("weight", "bias"):
            if getattr(last, name, None) is not None:
                getattr(last, name).mul_(factor)


def _logits(model: Any, attention: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Products of queries and keys of one attention, before they are turned by their positions."""
    seen: dict[str, Tensor] = {}
    names = ("q_norm", "k_norm") if hasattr(attention, "q_norm") else ("q_proj", "k_proj")
    hooks = [
        getattr(attention, name).register_forward_hook(lambda _, args, output, name=name: seen.update({name: output}))
        for name in names
    ]
    model(**inputs)
    for hook in hooks:
        hook.remove()
    length = inputs["input_ids"].shape[1]
    apart = (seen[name].reshape(*seen[name].shape[:2], -1, 8) for name in names)
    query, key = (each.transpose(1, 2) if each.shape[1] == length else each for each in apart)
    logits: Tensor = query @ key.repeat_interleave(query.shape[1] // key.shape[1], dim=1).transpose(2, 3) * 8**-0.5
    return logits


def prompts(
    images: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 3), seed: int = 4, behind: int = 5, size: int = 16
) -> dict[str, Tensor]:
    """Inputs as a processor lays them out: words, the placeholders of each image, words; padded in front.

    Args:
        images: how many images each row has.
        pads: how much longer than the others each row would have to be, filled by padding.
        seed: of words and pixels.
        behind: words behind the last image.
        size: pixels along a side.
    """
    generator = torch.Generator().manual_seed(seed)
    lines = []
    for count in images:
        line = [1, *torch.randint(2, 80, (3,), generator=generator).tolist()]
        for number in range(count):
            line += ([7] if number else []) + [IMAGE] * TOKENS
        lines.append(line + torch.randint(2, 80, (behind,), generator=generator).tolist())
    lines = [line if behind == 0 else line[: len(line) - pad] for line, pad in zip(lines, pads, strict=True)]
    longest = max(map(len, lines))
    return {
        "pixel_values": torch.randn(sum(images), 3, size, size, generator=generator),
        "input_ids": torch.tensor([[PAD] * (longest - len(line)) + line for line in lines]),
        "attention_mask": torch.tensor([[0] * (longest - len(line)) + [1] * len(line) for line in lines]),
    }


def shaped(
    sizes: Sequence[Sequence[int]] = ((16, 8), (8, 8), (16, 8)), rows: Sequence[int] = (2, 1)
) -> dict[str, Tensor]:
    """Inputs of a model that takes pictures of any shape, such as 16 by 8 pixels: 8 tokens of 4 by 4 pixels.

    Args:
        sizes: rows and columns of the pixels of each picture.
        rows: how many pictures each row of the prompt has.
    """
    generator = torch.Generator().manual_seed(6)
    counts, lines = iter([high * wide // 16 for high, wide in sizes]), []
    for images in rows:
        line = [1, 33, 44]
        for _ in range(images):
            line += [IMAGE] * next(counts) + [7]
        lines.append(line + torch.randint(2, 80, (4,), generator=generator).tolist())
    longest = max(map(len, lines))
    high, wide = (max(size[side] for size in sizes) for side in (0, 1))
    return {
        "pixel_values": torch.randn(len(sizes), 3, high, wide, generator=generator),
        "image_sizes": torch.tensor(sizes),
        "input_ids": torch.tensor([[PAD] * (longest - len(line)) + line for line in lines]),
        "attention_mask": torch.tensor([[0] * (longest - len(line)) + [1] * len(line) for line in lines]),
    }
