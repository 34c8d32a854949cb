"""Tiny random BLIP-2 models for retrieval: `tiny_blip2`'s, with heads in the place of the language model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Blip2Config, Blip2ForImageTextRetrieval, Blip2VisionModelWithProjection

from tokprune.testing import tiny_blip2
from tokprune.testing.tiny_blip2 import BOS, IMAGE, QUERIES, TEXT

TEXT_PAD = 0
"""Id of the padding behind a text."""


def tiny_blip2_retrieval() -> Any:
    """A random `Blip2ForImageTextRetrieval` in eval mode: 17 image tokens, 8 query tokens, 2 cross-attention layers.

    Example:
        >>> tuple(tiny_blip2_retrieval()(**prompts()).logits_per_image.shape)
        (2, 2)
    """
    given = prompts(images=4, pads=(0,) * 4, seed=98)
    del given["pixel_values"]
    return tiny_blip2.build(
        Blip2ForImageTextRetrieval, _config(), "sdpa", 0, **given, use_image_text_matching_head=True
    )


def tiny_blip2_vision() -> Any:
    """A random `Blip2VisionModelWithProjection`: the half that makes the index.

    Example:
        >>> tuple(tiny_blip2_vision()(prompts()["pixel_values"]).image_embeds.shape)
        (2, 8, 16)
    """
    return tiny_blip2.build(Blip2VisionModelWithProjection, _config(), "sdpa", 0)


def _config() -> Any:
    given = tiny_blip2.configuration("opt", False)
    given["qformer_config"]["use_qformer_text_input"] = True
    return Blip2Config(**given, image_text_hidden_size=16)


def prompts(images: int = 2, pads: tuple[int, ...] = (0, 3), seed: int = 1) -> dict[str, Tensor]:
    """Images and as many texts as `pads`, each padded behind by so much, with the placeholders that go before.

    Returns:
        `pixel_values` `[image channel row column]`, `input_ids` and `attention_mask` `[text position]`.
    """
    generator = torch.Generator().manual_seed(seed)
    ids, mask = [], []
    for padding in pads:
        words = [BOS, *torch.randint(10, 90, (TEXT - 1,), generator=generator).tolist()][: TEXT - padding]
        ids.append([IMAGE] * QUERIES + words + [TEXT_PAD] * padding)
        mask.append([1] * (QUERIES + len(words)) + [0] * padding)
    return {
        "pixel_values": torch.randn(images, 3, 16, 16, generator=generator),
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
    }
