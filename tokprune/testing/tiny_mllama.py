"""Tiny random Mllamas whose attention is far from uniform."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import MllamaConfig, MllamaForConditionalGeneration

from tokprune.testing.tiny_blip2 import randomise
from tokprune.testing.tiny_crossattention import BOS, EOS, PAD, TEXT, spread

IMAGE = 90
"""Id that stands for an image in a prompt."""
CROSSING = (1, 3, 5)
"""The layers of the language model that read images."""


def tiny_mllama(tiles: int = 1, attention: str = "sdpa", seed: int = 0) -> Any:
    """A random Mllama in eval mode: 16 image tokens and [CLS] in each tile, 6 layers of which 3 read them.

    Args:
        tiles: how many tiles an image has at most.
        attention: attention implementation.
        seed: of its weights.

    Example:
        >>> tuple(tiny_mllama()(**prompts()).logits.shape)
        (2, 6, 99)
    """
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_global_layers": 1}
    vision |= {"attention_heads": 4, "image_size": 16, "patch_size": 4, "max_num_tiles": tiles, "vision_output_dim": 64}
    shapes = [[1, 1]] if tiles == 1 else [[1, 1], [1, 2], [2, 1]]
    text = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 6}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
    text |= {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
    config = MllamaConfig(
        vision_config={**vision, "intermediate_layers_indices": [0], "supported_aspect_ratios": shapes},
        text_config={
            **text,
            "cross_attention_layers": list(CROSSING),
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
        image_token_index=IMAGE,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MllamaForConditionalGeneration._from_config(config, attn_implementation=attention)
    randomise(model, seed)
    model.eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("_gate"):
                parameter.fill_(0.7)  # closed when training begins
    for layer in range(2):
        where = f"model.vision_model.transformer.layers.{layer}.self_attn"
        spread(model, prompts(tiles=tiles), f"{where}.q_proj", f"{where}.k_proj")
    for layer in CROSSING:
        where = f"model.language_model.layers.{layer}.cross_attn"
        spread(model, prompts(tiles=tiles), f"{where}.q_norm", f"{where}.k_norm")
    return model


def prompts(
    images: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 2),
    tiles: int = 1,
    real: Sequence[int] | None = None,
    seed: int = 1,
) -> dict[str, Tensor]:
    """Inputs of a tiny Mllama as its processor lays them out: padding in front, images, and text that sees them.

    Args:
        images: how many images each row has; rows with fewer are filled up with images of no tiles.
        pads: how much padding each row has in front.
        tiles: how many tiles an image has, padded ones included.
        real: how many tiles the images of each row have; None: all.
        seed: of words and pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, most = len(images), max(images)
    ids = torch.randint(10, 80, (rows, TEXT), generator=generator)
    mask = torch.arange(TEXT)[None] >= torch.tensor(pads)[:, None]
    shown = torch.zeros(rows, most, tiles, dtype=torch.long)
    sees = torch.zeros(rows, TEXT, most, tiles, dtype=torch.long)
    for row, (count, pad) in enumerate(zip(images, pads, strict=True)):
        for image in range(count):
            filled = tiles if real is None else real[row]
            shown[row, image, :filled] = 1
            ids[row, pad + image] = IMAGE
            sees[row, pad + image :, image, :filled] = 1  # text sees the images in front of it
    return {
        "input_ids": ids.masked_fill(~mask, PAD),
        "attention_mask": mask.long(),
        "pixel_values": torch.randn(rows, most, tiles, 3, 16, 16, generator=generator),
        "aspect_ratio_ids": shown.sum(dim=-1),
        "aspect_ratio_mask": shown,
        "cross_attention_mask": sees,
    }
