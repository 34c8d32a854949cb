"""Tiny random models of every family, whose attention is far from uniform: one table, one door.

`tiny` is the door. `table.py` has a row for each family, `build.py` makes a model of a row, `spread.py` spreads its
attention, and the `inputs_*.py` lay out what goes into it as the family's processor does.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from inspect import signature
from typing import Any

from tokprune.errors import UnknownNameError
from tokprune.registry import default_registry
from tokprune.testing.models.build import Row, accepted, build
from tokprune.testing.models.table import ROWS

__all__ = ["ROWS", "tiny", "tiny_inputs", "tiny_model"]


def tiny(family: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Make a tiny random model of a family, and the keyword arguments of one forward: two rows with an image each.

    Args:
        family: name of the adapter, as `tokprune.list_adapters()` gives it; one of a plugin makes its own `example()`.
        options: `seed` (of the weights) and `attention` (its implementation) for every family; what else there is
            depends on the family, such as `text="t5"` (kind of the language model), `depth=4` (its layers, whose
            attention is then spread too), `images=(2, 1)` (how many images each row has), `pads=(0, 3)`.

    Returns:
        The model in eval mode, and its inputs.

    Raises:
        UnknownNameError: unknown family or option.

    Example:
        >>> model, inputs = tiny("llava")
        >>> tuple(model(**inputs).logits.shape)
        (2, 24, 99)
        >>> model, inputs = tiny("blip2", text="t5", images=(2, 1))
        >>> model.config.text_config.model_type, len(inputs["pixel_values"])
        ('t5', 3)
    """
    if family not in ROWS and not options and (example := _brought(family)) is not None:
        model, inputs = example()
        return model, dict(inputs)
    made = {name: options.pop(name) for name in ("seed", "attention") if name in options}
    _check_options(family, options)
    found = row(family)
    return build(found, options, **made), found.inputs(**accepted(found.inputs, options))


def tiny_model(family: str, seed: int = 0, attention: str | None = None, **options: Any) -> Any:
    """The model alone.

    Example:
        >>> type(tiny_model("vit", model="DeiTForImageClassification")).__name__
        'DeiTForImageClassification'
    """
    _check_options(family, options)
    return build(row(family), options, seed, attention)


def tiny_inputs(family: str, **options: Any) -> dict[str, Any]:
    """The keyword arguments of one forward alone; `seed` is that of words and pixels.

    Example:
        >>> tuple(tiny_inputs("blip2", images=(1, 1, 1), pads=(0, 0, 0))["input_ids"].shape)
        (3, 14)
    """
    _check_options(family, options)
    found = row(family)
    return found.inputs(**accepted(found.inputs, options))


def row(family: str) -> Row:
    """The row of a family.

    Raises:
        UnknownNameError: there is none.
    """
    if family in ROWS:
        return ROWS[family]
    near = difflib.get_close_matches(str(family), ROWS, n=3, cutoff=0.5)
    meant = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are: {', '.join(sorted(ROWS))}."
    raise UnknownNameError(f"tokprune.testing.tiny: expected the name of a family, got {family!r}. {meant}")


def _brought(family: str) -> Any:
    """The `example` of an adapter that a plugin registered under this name, or None."""
    registry = default_registry()
    kinds = {entry.name: entry.cls for entry in registry.entries("adapter")}
    return getattr(kinds.get(family), "example", None)


def _check_options(family: str, options: Mapping[str, Any]) -> None:
    made = (row(family).config, row(family).inputs)
    parameters = [each for function in made for each in signature(function).parameters.values()]
    known = {"seed", "attention"} | {each.name for each in parameters}
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return  # another library's model says itself what it takes
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"Did you mean {near[0]!r}? " if near else ""
            raise UnknownNameError(
                f"tokprune.testing.tiny({family!r}): unknown option {name!r}. {meant}"
                f"It takes {', '.join(sorted(known))}."
            )
