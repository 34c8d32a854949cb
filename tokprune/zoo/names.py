"""The names of bundled models and data sets, and the answer to a name that is neither."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from tokprune.errors import UnknownNameError

MODELS = {"blip2-shapes": "blip2_shapes"}
"""Folder inside the package, by model name."""
DATASETS = ("shapes-vqa",)


def list_models() -> list[str]:
    """Names of the bundled models."""
    return sorted(MODELS)


def list_datasets() -> list[str]:
    """Names of the bundled data sets."""
    return sorted(DATASETS)


def model_path(name: str = "blip2-shapes") -> Path:
    """The folder of a bundled model: anything that takes a local checkpoint takes this.

    Example:
        >>> from transformers import AutoProcessor
        >>> processor = AutoProcessor.from_pretrained(model_path("blip2-shapes"))
    """
    check_name("model", name, list_models())
    return Path(__file__).parent / MODELS[name]


def check_name(what: str, name: str, known: Sequence[str]) -> None:
    """Raises `UnknownNameError` with the nearest known name unless `name` is known."""
    if name in known:
        return
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    raise UnknownNameError(f"the zoo has no {what} {name!r}.{hint} It has: {', '.join(known)}.")
