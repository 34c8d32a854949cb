"""Tiny random Qwen2-VL, Qwen2.5-VL and Qwen3-VL models, with encoders whose attention is far from uniform."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from tokprune.testing.tiny_blip2 import SPREAD, randomise

IMAGE, START, END, VIDEO = 90, 91, 92, 93
"""Ids: the placeholder of each image token, what stands around an image or video, the placeholder of a video's."""
PAD, BOS, EOS = 0, 1, 97
TEXT = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "max_position_embeddings": 256,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
}
"""What the language models are made with."""
IDS = {"image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": START, "vision_end_token_id": END}
VISION = {"num_heads": 4, "patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2, "in_channels": 3}
"""What the image encoders are made with: 2 x 2 of their tokens become one image token."""
Item = tuple[int, int] | tuple[int, int, int]
"""Rows and columns of the encoder's tokens of an image; frames, rows and columns of a video's."""


def tiny_qwen2_vl(attention: str = "sdpa", seed: int = 0) -> Any:
    """A random Qwen2-VL in eval mode, 2 layers in its encoder.

    Example:
        >>> model = tiny_qwen2_vl()
        >>> tuple(model(**prompts()).logits.shape)
        (2, 19, 99)
    """
    vision = {**VISION, "depth": 2, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2}
    return _build(
        Qwen2VLForConditionalGeneration, Qwen2VLConfig(vision_config=vision, text_config=TEXT, **IDS), attention, seed
    )


def tiny_qwen2_5_vl(attention: str = "sdpa", seed: int = 0) -> Any:
    """A random Qwen2.5-VL in eval mode: 2 of its encoder's 3 layers look no further than windows of 2 x 2 image tokens.

    Example:
        >>> model = tiny_qwen2_5_vl()
        >>> tuple(model(**prompts()).logits.shape)
        (2, 19, 99)
    """
    vision = {
        **VISION,
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "window_size": 16,
        "fullatt_block_indexes": [1],
        "out_hidden_size": 32,
    }
    return _build(
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLConfig(vision_config=vision, text_config=TEXT, **IDS),
        attention,
        seed,
    )


def tiny_qwen3_vl(attention: str = "sdpa", seed: int = 0) -> Any:
    """A random Qwen3-VL in eval mode: 2 of its encoder's 3 layers hand features to layers of the language model.

    Example:
        >>> model = tiny_qwen3_vl()
        >>> tuple(model(**prompts()).logits.shape)
        (2, 19, 99)
    """
    vision = {
        **VISION,
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "out_hidden_size": 32,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    }
    text = {**TEXT, "head_dim": 8}
    return _build(
        Qwen3VLForConditionalGeneration, Qwen3VLConfig(vision_config=vision, text_config=text, **IDS), attention, seed
    )


def _build(model_class: Any, config: Any, attention: str, seed: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = model_class._from_config(config, attn_implementation=attention)
    randomise(model, seed)
    model.eval()
    for block in model.model.visual.blocks:
        _spread(model, block.attn.qkv)
    model.generation_config.eos_token_id = None  # so that every way to generate gives as many tokens as it is asked for
    return model


@torch.no_grad()
def _spread(model: Any, projection: Any, heads: int = 4) -> None:
    """Scale the queries of one layer of the encoder, until its logits spread by `SPREAD` over the keys of an image."""
    seen: list[Tensor] = []
    hook = projection.register_forward_hook(lambda _, args, output: seen.append(output))
    model.model.get_image_features(**images([(4, 8)]))
    hook.remove()
    query, key, _ = (part.reshape(len(part), heads, -1).transpose(0, 1) for part in seen[0].chunk(3, dim=-1))
    logits = query @ key.transpose(1, 2) * query.shape[-1] ** -0.5
    size = projection.weight.shape[0] // 3
    factor = SPREAD / logits.std(dim=2).mean()
    projection.weight[:size] *= factor
    projection.bias[:size] *= factor


def tokens(item: Item) -> int:
    """How many tokens an image or a video has in the prompt.

    Example:
        >>> tokens((4, 8)), tokens((2, 4, 4))
        (8, 8)
    """
    return math.prod(item) // 4


def images(items: Sequence[Item], seed: int = 5) -> dict[str, Tensor]:
    """Random images, or videos under the names of images."""
    generator = torch.Generator().manual_seed(seed)
    grids = [(1, *item) if len(item) == 2 else item for item in items]
    return {
        "pixel_values": torch.randn(sum(map(math.prod, grids)), 3 * 2 * 4 * 4, generator=generator),
        "image_grid_thw": torch.tensor(grids),
    }


def prompts(
    rows: Sequence[Sequence[Item]] = (((4, 8),), ((8, 4),)), seed: int = 1, apart: bool = False
) -> dict[str, Any]:
    """Inputs as a processor lays them out: words, images and videos with what stands around them, words; left-padded.

    Args:
        rows: the images and videos of each row.
        seed: of words and pixels.
        apart: whether the frames of a video are apart, a word in front of each, as in Qwen3-VL.
    """
    generator = torch.Generator().manual_seed(seed)
    lines = []
    for index, row in enumerate(rows):
        line = [BOS, *_words(2, generator)]
        for item in row:
            if len(item) == 2:
                line += [START, *[IMAGE] * tokens(item), END]
            elif apart:
                for _ in range(item[0]):
                    line += [*_words(1, generator), START, *[VIDEO] * tokens(item[1:]), END]
            else:
                line += [START, *[VIDEO] * tokens(item), END]
            line += _words(1, generator)
        lines.append(line + _words(4 + index, generator))
    longest = max(map(len, lines))
    ids = torch.tensor([[PAD] * (longest - len(line)) + line for line in lines])
    given: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": torch.tensor([[0] * (longest - len(line)) + [1] * len(line) for line in lines]),
        "mm_token_type_ids": (ids == IMAGE).int() + 2 * (ids == VIDEO).int(),
    }
    shown = [item for row in rows for item in row]
    if any(len(item) == 2 for item in shown):
        given |= images([item for item in shown if len(item) == 2], seed + 10)
    if any(len(item) == 3 for item in shown):
        films = images([item for item in shown if len(item) == 3], seed + 20)
        given |= {"pixel_values_videos": films["pixel_values"], "video_grid_thw": films["image_grid_thw"]}
    return given


def _words(count: int, generator: torch.Generator) -> list[int]:
    words: list[int] = torch.randint(2, 80, (count,), generator=generator).tolist()
    return words
