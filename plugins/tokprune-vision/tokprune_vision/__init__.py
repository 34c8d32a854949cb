"""Image tokens chosen by what the image encoder's [CLS] looks at, and VisionZip's dominant and contextual tokens.

>>> import tokprune
>>> tokprune.list_scorers("cls-*"), tokprune.list_selectors("visionzip"), tokprune.list_reductions("visionzip")
(['cls-attention'], ['visionzip'], ['visionzip'])
"""

from __future__ import annotations

from collections.abc import Mapping

import tokprune
from tokprune_vision.cls_attention import ClsAttention
from tokprune_vision.merging import VisionZipMerging
from tokprune_vision.selection import VisionZipSelection

__all__ = [
    "ClsAttention",
    "VisionZipMerging",
    "VisionZipSelection",
    "register_reductions",
    "register_scorers",
    "register_selectors",
]


@tokprune.hookimpl
def register_scorers() -> Mapping[str, type]:
    """The scorers of this plugin."""
    return {"cls-attention": ClsAttention}


@tokprune.hookimpl
def register_selectors() -> Mapping[str, type]:
    """The selectors of this plugin."""
    return {"visionzip": VisionZipSelection}


@tokprune.hookimpl
def register_reductions() -> Mapping[str, type]:
    """The reductions of this plugin."""
    return {"visionzip": VisionZipMerging}
