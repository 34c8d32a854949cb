"""Tiny random models that merge image tokens into their prompt, with encoders whose attention is far from uniform."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlavaConfig, LlavaForConditionalGeneration

from tokprune.testing.tiny_blip2 import SPREAD, randomise

IMAGE = 90
"""Id of the placeholder that each image token takes in a prompt."""
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
}
"""What the language models are made with."""
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 4,
}
"""What the image encoders are made with: 16 image tokens."""


def tiny_llava(attention: str = "sdpa", seed: int = 0) -> Any:
    """A random LLaVA in eval mode: CLIP's 16 image tokens and [CLS], the last but one of 3 layers, and a LLaMA.

    Example:
        >>> model = tiny_llava()
        >>> tuple(model(**prompts([[16], [16]], pixels(2))).logits.shape)
        (2, 24, 99)
    """
    config = LlavaConfig(
        vision_config={**VISION, "model_type": "clip_vision_model"},
        text_config={**TEXT, "model_type": "llama"},
        image_token_index=IMAGE,
    )
    return build(LlavaForConditionalGeneration, config, attention, seed, pixels(4))


def build(model_class: Any, config: Any, attention: str, seed: int, images: dict[str, Any]) -> Any:
    """A model with random weights whose encoder's attention is spread; `images` are to measure it by."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = model_class._from_config(config, attn_implementation=attention)
    randomise(model, seed)
    model.eval()
    tower = getattr(model.model, "vision_tower", None) or model.model.vision_model
    for module in tower.modules():
        if isinstance(getattr(module, "q_proj", None), nn.Module) and isinstance(module.k_proj, nn.Module):
            spread(module, lambda: model.model.get_image_features(**images, return_dict=True))
    model.generation_config.eos_token_id = None  # so that every way to generate gives as many tokens as it is asked for
    return model


@torch.no_grad()
def spread(attention: Any, run: Callable[[], Any], heads: int = 4) -> None:
    """Scale the queries of one attention, until its logits spread by `SPREAD` over the keys in what `run` does."""
    seen: dict[str, Tensor] = {}
    hooks = [
        getattr(attention, name).register_forward_hook(lambda _, args, output, name=name: seen.update({name: output}))
        for name in ("q_proj", "k_proj")
    ]
    run()
    for hook in hooks:
        hook.remove()
    if seen:  # layers behind the one whose output is taken may not run
        query, key = (
            seen[name].reshape(*seen[name].shape[:2], heads, -1).transpose(1, 2) for name in ("q_proj", "k_proj")
        )
        logits = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        factor = SPREAD / logits.std(dim=3).mean()
        attention.q_proj.weight *= factor
        if attention.q_proj.bias is not None:
            attention.q_proj.bias *= factor


def pixels(*count: int, side: int = 16, seed: int = 5) -> dict[str, Any]:
    """Random images `[... 3 side side]`."""
    shape = (*count, 3, side, side)
    return {"pixel_values": torch.randn(shape, generator=torch.Generator().manual_seed(seed))}


def prompts(rows: Sequence[Sequence[int]], images: dict[str, Any], seed: int = 1, around: int = 0) -> dict[str, Any]:
    """Inputs as a processor lays them out: words, the placeholders of each image, words; left-padded.

    Args:
        rows: for each row, how many tokens each of its images has.
        images: arguments that carry the images.
        seed: of the words.
        around: id of a word that parts images, 0 for none.
    """
    generator = torch.Generator().manual_seed(seed)
    lines = []
    for row, counts in enumerate(rows):
        line = [BOS, *torch.randint(2, 80, (2,), generator=generator).tolist()]
        for count in counts:
            line += [around] * bool(around) + [IMAGE] * count + [around] * bool(around)
        lines.append(line + torch.randint(2, 80, (4 + row,), generator=generator).tolist())
    longest = max(map(len, lines))
    return {
        **images,
        "input_ids": torch.tensor([[PAD] * (longest - len(line)) + line for line in lines]),
        "attention_mask": torch.tensor([[0] * (longest - len(line)) + [1] * len(line) for line in lines]),
    }
