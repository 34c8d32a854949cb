"""Short names for the tiny image encoders of the table."""

from __future__ import annotations

from typing import Any

from tokprune.testing.models import tiny_model
from tokprune.testing.models.inputs_encoders import captions, pictures, timm_pictures
from tokprune.testing.models.table import ROWS

__all__ = ["captions", "pictures", "timm_pictures"]

TOKENS = 16
"""Image tokens of one picture of the usual size."""
DEPTH = 3
"""Layers."""


def tiny_clip(model: str = "CLIPModel", seed: int = 0) -> Any:
    """A random CLIP in eval mode, whole or one of the models with its image encoder alone."""
    return tiny_model("clip", seed, model=model)


def tiny_siglip(model: str = "SiglipModel", seed: int = 0) -> Any:
    """A random SigLIP in eval mode, whole or its image encoder alone."""
    return tiny_model("siglip", seed, model=model)


def tiny_dinov2(model: str = "Dinov2Model", seed: int = 0) -> Any:
    """A random DINOv2 in eval mode, with two registers where the model has any."""
    return tiny_model("dinov2", seed, model=model)


def tiny_vit(model: str = "ViTForImageClassification", seed: int = 0) -> Any:
    """A random ViT or DeiT of transformers in eval mode."""
    return tiny_model("vit", seed, model=model)


def tiny_timm(seed: int = 0, **options: Any) -> Any:
    """A random `VisionTransformer` of timm in eval mode."""
    return tiny_model("timm-vit", seed, **{"reg_tokens": 0, **options})


def timm_size() -> dict[str, Any]:
    """What makes a model of timm as tiny as the others."""
    return {name: value for name, value in ROWS["timm-vit"].config().items() if name != "reg_tokens"}
