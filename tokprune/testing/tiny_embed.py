"""Tiny random models that merge image tokens into their prompt, with encoders whose attention is far from uniform."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AyaVisionConfig,
    AyaVisionForConditionalGeneration,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Idefics2Config,
    Idefics2ForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)

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


def tiny_vipllava() -> Any:
    """A random VipLLaVA in eval mode: tokens of two layers of CLIP, and a LLaMA."""
    config = VipLlavaConfig(
        vision_config={**VISION, "model_type": "clip_vision_model"},
        text_config={**TEXT, "model_type": "llama"},
        image_token_index=IMAGE,
        **{_VIP_LAYERS: [-2, -3]},
    )
    return build(VipLlavaForConditionalGeneration, config, "sdpa", 0, pixels(4))


_VIP_LAYERS = "vision_feature_layers" if hasattr(VipLlavaConfig(), "vision_feature_layers") else "vision_feature_layer"

TILES = {"image_grid_pinpoints": [[16, 32], [32, 16]], "image_token_index": IMAGE}
"""Two tiles beside each other, or one above the other."""


def tiny_llava_next() -> Any:
    """A random LLaVA-NeXT in eval mode: tiles of 4 image tokens and [CLS], and a Mistral.

    Example:
        >>> model = tiny_llava_next()
        >>> tuple(model(**prompts([[14], [14]], tiles((16, 32), (16, 32)))).logits.shape)
        (2, 22, 99)
    """
    config = LlavaNextConfig(
        vision_config={**VISION, "model_type": "clip_vision_model", "patch_size": 8},
        text_config={**TEXT, "model_type": "mistral"},
        **TILES,
    )
    return build(LlavaNextForConditionalGeneration, config, "sdpa", 0, tiles((16, 32), (32, 16)))


def tiny_llava_onevision(most: int = 9) -> Any:
    """A random LLaVA-OneVision in eval mode: tiles of 4 image tokens, scaled down if they were more than `most`."""
    config = LlavaOnevisionConfig(
        vision_config={**VISION, "model_type": "siglip_vision_model", "patch_size": 8, "vision_use_head": False},
        text_config={**TEXT, "model_type": "qwen2"},
        video_token_index=91,
        vision_aspect_ratio=f"anyres_max_{most}",
        **TILES,
    )
    return build(LlavaOnevisionForConditionalGeneration, config, "sdpa", 0, tiles((16, 32), (32, 16)))


def tiny_idefics2() -> Any:
    """A random Idefics2 in eval mode: 8 query tokens in two layers, with keys shared by two heads, and a Mistral."""
    resampler = {
        "hidden_size": 32,
        "resampler_n_latents": 8,
        "resampler_depth": 2,
        "resampler_n_heads": 4,
        "resampler_head_dim": 8,
        "num_key_value_heads": 2,
    }
    config = Idefics2Config(
        vision_config={**VISION, "num_hidden_layers": 1},
        perceiver_config=resampler,
        text_config={**TEXT, "model_type": "mistral"},
        image_token_id=IMAGE,
    )
    return build(Idefics2ForConditionalGeneration, config, "sdpa", 0, pixels(2, 1))


def tiny_idefics3(smol: bool = False) -> Any:
    """A random Idefics3, or SmolVLM, in eval mode: squares of 2 by 2 of 64 tokens become one, and a LLaMA."""
    kind = SmolVLMConfig if smol else Idefics3Config
    config = kind(
        vision_config=FINE,
        text_config={**TEXT, "model_type": "llama"},
        image_token_id=IMAGE,
        scale_factor=2,
        pad_token_id=PAD,
    )
    model = SmolVLMForConditionalGeneration if smol else Idefics3ForConditionalGeneration
    return build(model, config, "sdpa", 0, pixels(2, 1))


FINE = {**VISION, "num_hidden_layers": 2, "patch_size": 2}
"""Image encoders of models that merge 2 by 2 tokens: 64 tokens become 16."""


def tiny_paligemma() -> Any:
    """A random PaliGemma in eval mode: 16 image tokens of SigLIP, and a Gemma."""
    config = PaliGemmaConfig(
        vision_config={**VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
        text_config={**TEXT, "model_type": "gemma", "head_dim": 8},
        image_token_index=IMAGE,
        projection_dim=32,
        hidden_size=32,
    )
    return build(PaliGemmaForConditionalGeneration, config, "sdpa", 0, pixels(4))


def tiny_gemma3() -> Any:
    """A random Gemma 3 in eval mode: means of 2 by 2 of SigLIP's 64 tokens, and a window of 8 tokens in one layer."""
    config = Gemma3Config(
        vision_config={**FINE, "model_type": "siglip_vision_model", "vision_use_head": False},
        text_config={
            **TEXT,
            "model_type": "gemma3_text",
            "head_dim": 8,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        image_token_index=IMAGE,
        mm_tokens_per_image=16,
        boi_token_index=91,
        eoi_token_index=92,
    )
    return build(Gemma3ForConditionalGeneration, config, "sdpa", 0, pixels(4))


def tiny_internvl() -> Any:
    """A random InternVL in eval mode: squares of 2 by 2 of 64 tokens, beside [CLS], become one, and a Qwen2."""
    sizes = {"image_size": [16, 16], "patch_size": [2, 2], "use_qk_norm": True}
    config = InternVLConfig(
        vision_config={**FINE, **sizes},
        text_config={**TEXT, "model_type": "qwen2"},
        image_token_id=IMAGE,
        image_seq_length=16,
    )
    return build(InternVLForConditionalGeneration, config, "sdpa", 0, pixels(4))


def tiny_aya_vision() -> Any:
    """A random Aya Vision in eval mode: squares of 2 by 2 of SigLIP's 64 tokens become one, and a Cohere2."""
    config = AyaVisionConfig(
        vision_config={**FINE, "model_type": "siglip_vision_model", "vision_use_head": False},
        text_config={**TEXT, "model_type": "cohere2"},
        image_token_index=IMAGE,
    )
    return build(AyaVisionForConditionalGeneration, config, "sdpa", 0, pixels(4))


def tiny_mistral3() -> Any:
    """A random Mistral 3 in eval mode: squares of 2 by 2 of Pixtral's tokens become one, and a Mistral."""
    config = Mistral3Config(
        vision_config={**FINE, "model_type": "pixtral", "head_dim": 8},
        text_config={**TEXT, "model_type": "mistral", "head_dim": 8},
        image_token_index=IMAGE,
    )
    return build(Mistral3ForConditionalGeneration, config, "sdpa", 0, shapes((16, 16), (8, 16)))


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


def tiles(*sizes: tuple[int, int], seed: int = 5) -> dict[str, Any]:
    """Random images of these heights and widths, as a whole and in two tiles each."""
    return {**pixels(len(sizes), 3, seed=seed), "image_sizes": torch.tensor(sizes)}


def shapes(*sizes: tuple[int, int], side: int = 16, seed: int = 5) -> dict[str, Any]:
    """Random images of these heights and widths, in one tensor with room for the largest."""
    return {**pixels(len(sizes), side=side, seed=seed), "image_sizes": torch.tensor(sizes)}


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


def pair(count: int, images: str, *sizes: Any) -> dict[str, Any]:
    """Two prompts with an image of `count` tokens each, which are made by the function `images` of `sizes`."""
    make: dict[str, Callable[..., dict[str, Any]]] = {"pixels": pixels, "tiles": tiles, "shapes": shapes}
    return prompts([[count], [count]], make[images](*sizes))
