"""Tiny random models of the first Idefics, with attention that is far from uniform."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import IdeficsConfig, IdeficsForVisionText2Text

from tokprune.testing.tiny_blip2 import randomise
from tokprune.testing.tiny_crossattention import BOS, EOS, PAD, TEXT, spread

LATENTS = 6
"""How many latents the resampler makes of an image."""


def tiny_idefics(resampler: bool = False, norms: bool = False, attention: str = "sdpa", seed: int = 0) -> Any:
    """A random Idefics in eval mode: 16 image tokens and [CLS], or 6 latents; 3 layers, each behind a cross-attention.

    Args:
        resampler: with its perceiver resampler.
        norms: with norms behind the projections of queries and keys.
        attention: attention implementation.
        seed: of its weights.

    Example:
        >>> tuple(tiny_idefics()(**prompts()).logits.shape)
        (2, 6, 99)
    """
    vision = {"embed_dim": 32, "image_size": 16, "patch_size": 4, "num_hidden_layers": 2, "num_attention_heads": 4}
    perceiver = {"resampler_n_latents": LATENTS, "resampler_depth": 1, "resampler_n_heads": 4}
    config = IdeficsConfig(
        vocab_size=99,
        additional_vocab_size=0,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        cross_layer_interval=1,
        max_position_embeddings=64,
        qk_layer_norms=norms,
        use_resampler=resampler,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        vision_config={**vision, "intermediate_size": 64, "vision_intermediate_size": 64},
        perceiver_config={**perceiver, "resampler_head_dim": 8, "use_resampler": resampler},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = IdeficsForVisionText2Text._from_config(config, attn_implementation=attention)
    randomise(model, seed)
    model.eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".alpha_" in name:
                parameter.fill_(0.7)  # closed when training begins
    for layer in range(2):
        where = f"model.vision_model.encoder.layers.{layer}.self_attn"
        spread(model, prompts(), f"{where}.q_proj", f"{where}.k_proj")
    names = ("q_layer_norm", "k_layer_norm") if norms else ("q_proj", "k_proj")
    for layer in range(3):
        where = f"model.gated_cross_attn_layers.{layer}.cross_attn"
        spread(model, prompts(), f"{where}.{names[0]}", f"{where}.{names[1]}")
    return model


def prompts(images: Sequence[int] = (1, 1), pads: Sequence[int] = (0, 2), seed: int = 1) -> dict[str, Tensor]:
    """Inputs of a tiny Idefics as its processor lays them out: padding in front, and text that sees one image each.

    Args:
        images: how many images each row has; rows with fewer are filled up with images that nobody sees.
        pads: how much padding each row has in front.
        seed: of words and pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, most = len(images), max(images)
    ids = torch.randint(10, 90, (rows, TEXT), generator=generator)
    mask = torch.arange(TEXT)[None] >= torch.tensor(pads)[:, None]
    sees = torch.zeros(rows, TEXT, most, dtype=torch.long)
    for row, (count, pad) in enumerate(zip(images, pads, strict=True)):
        for image in range(count):
            sees[row, pad + image :] = 0  # the last image in front of a token is the one that it sees
            sees[row, pad + image :, image] = 1
    return {
        "input_ids": ids.masked_fill(~mask, PAD),
        "attention_mask": mask.long(),
        "pixel_values": torch.randn(rows, most, 3, 16, 16, generator=generator),
        "image_attention_mask": sees,
    }
