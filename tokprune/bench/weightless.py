"""Models without weights: parameters that have shapes and no numbers, so that they take no memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook


def weightless(config: Any, attention: str | None = None, *, buffers: bool = False, model_class: Any = None) -> Any:
    """The model of a transformers configuration in evaluation mode, its parameters on the meta device.

    Args:
        config: A configuration; it is left as it is.
        attention: Attention implementation; None for transformers' own choice.
        buffers: Whether buffers (rotary tables, position ids) have their numbers; if not, they are on the meta device
            too.
        model_class: The class of the model; None for the image-text-to-text model of the configuration.
    """
    from transformers import AutoModelForImageTextToText

    make = AutoModelForImageTextToText.from_config if model_class is None else model_class._from_config
    with _parameters_on_meta() if buffers else torch.device("meta"):
        # A copy, because the configuration is told the attention: a model that lent its own would change over to it.
        model = make(copy.deepcopy(config), attn_implementation=attention)
    return model.eval().requires_grad_(False)


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    def to_meta(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter | None:
        # One that is there already may be shared between modules, and has to stay the same object.
        return None if parameter is None or parameter.is_meta else nn.Parameter(parameter.to("meta"))

    # Typed as if it could not replace the parameter; its documentation says that it can.
    hook = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]
    try:
        yield
    finally:
        hook.remove()
