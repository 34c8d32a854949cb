"""Makes the tiny model of a row of the table; transformers is imported when the first one is made."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from tokprune.testing.models.spread import Spread, randomise, spread


@dataclass(frozen=True)
class Row:
    """A family: its model, its configuration, what goes in, and whose attention is spread.

    Args:
        model: class of transformers; an option `model` takes its place.
        config: (options) -> keyword arguments of its configuration's class.
        inputs: (options) -> keyword arguments of one forward.
        spread: the attention modules that are spread, in this order.
        look: (model, inputs) -> runs as much of it as they need; None: all of it.
        looked_at: options of the inputs that `look` gets.
        text: pattern of the language model's attention modules, which are spread too where a `depth` is asked for.
        fill: part of a name -> value of such parameters, such as gates, which are closed when training begins.
        ones: parts of names of vectors that are near 1, beside norms.
        attention: attention implementation if none is asked for.
        endless: whether generation has no last token, so that every way to generate gives as many as it is asked for.
        made: (model) -> changes the rest.
    """

    model: str
    config: Callable[..., Mapping[str, Any]]
    inputs: Callable[..., dict[str, Any]]
    spread: Sequence[Spread]
    look: Callable[[Any, dict[str, Any]], Any] | None = None
    looked_at: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    fill: Mapping[str, float] = field(default_factory=dict)
    ones: Sequence[str] = ()
    attention: str = "sdpa"
    endless: bool = False
    made: Callable[[Any], None] | None = None


def build(row: Row, options: Mapping[str, Any], seed: int = 0, attention: str | None = None) -> Any:
    """A model in eval mode with random weights and spread attention."""
    config = dict(row.config(**accepted(row.config, options)))
    model = _new(config.pop("model", row.model), config, attention or row.attention)
    randomise(model, seed, row.ones)
    model.eval()
    shown = {**row.looked_at, **{name: options[name] for name in options if name in _BOTH}}
    inputs = row.inputs(**accepted(row.inputs, shown))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            for part in (part for part in row.fill if part in name):
                parameter.fill_(row.fill[part])
        for each in row.spread:
            look = each.look or row.look
            spread(model, each, partial(look, model, inputs) if look else partial(model, **inputs))
        if row.text and "depth" in options:
            spread(model, Spread(row.text, over=None), partial(model, **inputs))
    if row.endless:
        model.generation_config.eos_token_id = None
    if row.made is not None:
        row.made(model)
    return model


def accepted(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that a function takes."""
    names = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in names.values()):
        return dict(options)
    return {name: value for name, value in options.items() if name in names}


def _new(model_class: str, config: Mapping[str, Any], attention: str) -> Any:
    if "." in model_class:  # of another library, which has no configurations
        place, _, name = model_class.rpartition(".")
        return getattr(importlib.import_module(place), name)(**config)
    import transformers

    made = getattr(transformers, model_class)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return made._from_config(made.config_class(**config), attn_implementation=attention)


_BOTH = ("tiles", "answers", "shapes", "text")
"""Options that change the model and what goes into it."""
