"""Modules by path."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from tokprune.adapters.shape import release_of
from tokprune.errors import AdapterError


def module_at(model: nn.Module, path: str) -> nn.Module:
    """The submodule at a dotted path ("encoder.layer.0.attention")."""
    try:
        return model.get_submodule(path)
    except AttributeError as error:
        raise AdapterError(
            f"{type(model).__name__} of {release_of(model)} has no module {path!r} ({error}); this adapter does not "
            "fit this release of it"
        ) from None


def part_of(model: nn.Module, module: str, classes: Sequence[str]) -> str:
    """That `model` is a part of one of `classes`, in words, if it is defined where they are; else nothing."""
    if type(model).__module__ != module or type(model).__name__ in classes:
        return ""
    whole = " or ".join(classes)
    return f"a {type(model).__name__} is a part of a {whole}; apply to the whole model"
