"""The parts of a model that a call goes through one after the other, wherever its family keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from tokprune.errors import AdapterError

_PLACES = (
    # BLIP-2, InstructBLIP
    ("vision_model", "qformer", "language_projection", "language_model"),
    # LLaVA
    ("model.vision_tower", "model.multi_modal_projector", "model.multi_modal_projector", "lm_head"),
    # Mllama
    ("model.vision_model", "model.multi_modal_projector", "model.multi_modal_projector", "lm_head"),
    # Qwen2.5-VL
    ("model.visual", "model.visual.merger", "model.visual.merger", "lm_head"),
)
"""Paths: image encoder, where the connector begins and ends, and what is called once in each pass of the language
model, at its end."""


@dataclass(frozen=True)
class Parts:
    """Modules at the borders of the stages of a call."""

    encoder: nn.Module
    """The image encoder."""
    begins: nn.Module
    """Where the connector begins."""
    connected: nn.Module
    """Where the connector ends."""
    reader: nn.Module
    """Called once in each pass of the language model; the pass ends with it."""


def parts_of(model: nn.Module) -> Parts:
    """The parts of a model.

    Raises:
        AdapterError: They are not where any family that is known here has them.
    """
    for places in _PLACES:
        found = [module for place in places if (module := _module_at(model, place)) is not None]
        if len(found) == len(places):
            return Parts(*found)
    raise AdapterError(
        f"speed: the parts of a {type(model).__name__} are not known; measured are BLIP-2, InstructBLIP, LLaVA, "
        "Qwen-VL and Mllama"
    )


def _module_at(model: nn.Module, path: str) -> nn.Module | None:
    found: object = model
    for name in path.split("."):
        found = getattr(found, name, None)
    return found if isinstance(found, nn.Module) else None


def llava_tokens(config: Any) -> int:
    """How many tokens a LLaVA has for each image: by its encoder, for `image_seq_length` only tells its processor."""
    vision = config.vision_config
    return int((vision.image_size // vision.patch_size) ** 2 + (config.vision_feature_select_strategy == "full"))
