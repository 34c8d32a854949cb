"""Tiny random image encoders whose attention is far from uniform, so that what they keep is not rounding noise."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import transformers
from torch import Tensor

from tokprune.testing.tiny_blip2 import SPREAD, randomise

TOKENS = 16
"""Image tokens of one picture of the usual size."""
DEPTH = 3
"""Layers."""

_WIDTH = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": DEPTH}
_VISION = {**_WIDTH, "image_size": 16, "patch_size": 4}
_TEXT = {**_WIDTH, "vocab_size": 99, "intermediate_size": 64, "max_position_embeddings": 12, "pad_token_id": 0}


def tiny_clip(model: str = "CLIPModel", seed: int = 0) -> Any:
    """A random CLIP in eval mode, whole or one of the models with its image encoder alone: 16 image tokens and [CLS].

    Example:
        >>> tuple(tiny_clip()(**captions()).logits_per_image.shape)
        (2, 2)
    """
    vision = transformers.CLIPVisionConfig(**_VISION, intermediate_size=64, projection_dim=24)
    if model.startswith("CLIPVision"):
        return _built(model, vision, seed)
    text = transformers.CLIPTextConfig(**_TEXT, projection_dim=24, bos_token_id=1, eos_token_id=2)
    whole = transformers.CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=24, num_labels=7
    )
    return _built(model, whole, seed)


def tiny_siglip(model: str = "SiglipModel", seed: int = 0) -> Any:
    """A random SigLIP in eval mode, whole or its image encoder alone: 16 image tokens, no [CLS].

    Example:
        >>> tuple(tiny_siglip()(**captions()).logits_per_image.shape)
        (2, 2)
    """
    vision = transformers.SiglipVisionConfig(**_VISION, intermediate_size=64)
    if model == "SiglipVisionModel":
        return _built(model, vision, seed)
    text = transformers.SiglipTextConfig(**_TEXT, projection_size=32, bos_token_id=1, eos_token_id=2)
    whole = transformers.SiglipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), num_labels=7)
    return _built(model, whole, seed)


def tiny_dinov2(model: str = "Dinov2Model", seed: int = 0) -> Any:
    """A random DINOv2 in eval mode: 16 image tokens and [CLS], and two registers where the model has any.

    Example:
        >>> tuple(tiny_dinov2("Dinov2WithRegistersModel")(**pictures()).last_hidden_state.shape)
        (2, 19, 32)
    """
    if "WithRegisters" in model:
        config: Any = transformers.Dinov2WithRegistersConfig(**_VISION, mlp_ratio=2, num_register_tokens=2)
    else:
        config = transformers.Dinov2Config(**_VISION, mlp_ratio=2)
    config.num_labels = 7
    return _built(model, config, seed)


def tiny_vit(model: str = "ViTForImageClassification", seed: int = 0) -> Any:
    """A random ViT or DeiT of transformers in eval mode: 16 image tokens and [CLS], and DeiT's distillation token.

    Example:
        >>> tuple(tiny_vit()(**pictures()).logits.shape)
        (2, 7)
    """
    kind: Any = transformers.DeiTConfig if model.startswith("DeiT") else transformers.ViTConfig
    return _built(model, kind(**_VISION, intermediate_size=64, num_labels=7), seed)


def tiny_timm(seed: int = 0, **options: Any) -> Any:
    """A random `VisionTransformer` of timm in eval mode: 16 image tokens, and [CLS] unless `options` say otherwise.

    Example:
        >>> tuple(tiny_timm(reg_tokens=2).forward_features(pictures()["pixel_values"]).shape)
        (2, 19, 32)
    """
    from timm.models.vision_transformer import VisionTransformer

    return randomised(VisionTransformer(**timm_size(), **options), seed)


def timm_size() -> dict[str, Any]:
    """What makes a model of timm as tiny as the others."""
    return {
        "img_size": 16,
        "patch_size": 4,
        "embed_dim": 32,
        "depth": DEPTH,
        "num_heads": 4,
        "mlp_ratio": 2,
        "num_classes": 7,
    }


def pictures(size: tuple[int, int] = (16, 16), images: int = 2, seed: int = 1) -> dict[str, Tensor]:
    """`pixel_values` `[image channel row column]` of random pictures."""
    generator = torch.Generator().manual_seed(seed)
    return {"pixel_values": torch.randn(images, 3, *size, generator=generator)}


def timm_pictures() -> dict[str, Tensor]:
    """The same under the name that timm has for them."""
    return {"x": pictures()["pixel_values"]}


def captions(size: tuple[int, int] = (16, 16), images: int = 2, seed: int = 1) -> dict[str, Tensor]:
    """Random pictures, and two captions of different length."""
    ids = torch.tensor([[1, 23, 45, 67, 2], [1, 34, 56, 2, 0]])
    return {**pictures(size, images, seed), "input_ids": ids, "attention_mask": (ids != 0).long()}


def _built(model: str, config: Any, seed: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = getattr(transformers, model)._from_config(config, attn_implementation="sdpa")
    return randomised(made, seed)


@torch.no_grad()
def randomised(model: Any, seed: int) -> Any:
    """The model in eval mode with weights that make a difference, and attention logits that spread."""
    randomise(model, seed, ones=("scale", "lambda"))
    model.eval()
    for path, module in list(model.named_modules()):
        if path.startswith("text_model"):
            continue
        if hasattr(module, "q_norm") and hasattr(module, "qkv"):
            _spread_fused(model, module)
        else:
            for query, key in (("q_proj", "k_proj"), ("query", "key")):
                if hasattr(module, query) and hasattr(module, key):
                    _spread(model, getattr(module, query), getattr(module, key))
    return model


def _entering(model: Any, module: Any) -> Tensor:
    """What enters `module`."""
    entered: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    encoder = getattr(model, "vision_model", model)
    encoder(pictures(images=4, seed=99)["pixel_values"])
    hook.remove()
    return entered[0]


def _spread(model: Any, query: Any, key: Any) -> None:
    states = _entering(model, query)
    factor = _factor(*(side(states).unflatten(-1, (4, 8)).transpose(1, 2) for side in (query, key)))
    query.weight *= factor
    query.bias *= factor


def _spread_fused(model: Any, attention: Any) -> None:
    query, key = _entering(model, attention.q_norm), _entering(model, attention.k_norm)
    if hasattr(attention.q_norm, "weight"):  # the norm undoes what comes before it
        factor = _factor(attention.q_norm(query), attention.k_norm(key))
        attention.q_norm.weight *= factor
        attention.q_norm.bias *= factor
        return
    factor, width = _factor(query, key), attention.qkv.in_features
    attention.qkv.weight[:width] *= factor
    attention.qkv.bias[:width] *= factor


def _factor(query: Tensor, key: Tensor) -> Tensor:
    logits: Tensor = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    return SPREAD / logits.std(dim=-1).mean()
