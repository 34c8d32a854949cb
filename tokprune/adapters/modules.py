"""Modules by path, with a star for the number of a layer ("encoder.layers.*.self_attn.q_proj") or without."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from torch import nn

from tokprune.adapters.shape import release_of
from tokprune.errors import AdapterError

STAR = "*"


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


def joined(prefix: str, path: str) -> str:
    """`path` below `prefix`; either may be empty.

    Example:
        >>> joined("model.encoder", "layers.*"), joined("", "blocks"), joined("model", "")
        ('model.encoder.layers.*', 'blocks', 'model')
    """
    return ".".join(part for part in (prefix, path) if part)


def starred(path: str) -> str:
    """A path with a star for each number in it.

    Example:
        >>> starred("encoder.layers.11.self_attn")
        'encoder.layers.*.self_attn'
    """
    return re.sub(r"(?<![^.])\d+(?![^.])", STAR, path)


def modules_like(model: nn.Module, pattern: str) -> Mapping[int, str]:
    """Number of the layer -> path, in order, of all modules that a path with one star stands for.

    Raises:
        AdapterError: nothing is there; the message names what comes near.
    """
    before, _, after = pattern.partition(STAR)
    wanted = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    found = {int(hit[1]): name for name, _ in model.named_modules() if (hit := wanted.fullmatch(name))}
    if not found:
        raise AdapterError(missing(model, pattern))
    return dict(sorted(found.items()))


def missing(model: nn.Module, path: str) -> str:
    """What to say of a path, with or without a star, at which `model` has no module."""
    known = {starred(name) if STAR in path else name for name, _ in model.named_modules() if name}
    near = difflib.get_close_matches(path, sorted(known), n=1, cutoff=0.5)
    nearest = f"; the nearest there is: {near[0]!r}" if near else ""
    return f"{type(model).__name__} has no module {path!r}{nearest}. tokprune inspect lists its attention modules"
