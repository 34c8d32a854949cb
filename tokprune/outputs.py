"""What a model answers: the one tensor of a forward's output by which two answers are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tokprune.errors import InvalidValueError

_NAMES = ("logits", "logits_per_image", "loss", "image_embeds", "last_hidden_state")


def answer_of(output: Any) -> Tensor:
    """The logits of a forward's output, or what comes next to them.

    A tensor is its own answer; of an output with names it is `logits`, else `logits_per_image`, else the `loss` (all
    that BLIP says of its answers to questions), else `image_embeds`, else `last_hidden_state`; else it is the first
    tensor that there is.

    Raises:
        InvalidValueError: there is no tensor in it.

    Example:
        >>> import torch
        >>> answer_of({"loss": torch.tensor(1.0), "logits": torch.zeros(2, 3)}).shape
        torch.Size([2, 3])
    """
    if isinstance(output, Tensor):
        return output
    for name in _NAMES:
        found = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if isinstance(found, Tensor):
            return found
    for value in output.values() if isinstance(output, Mapping) else output:
        if isinstance(value, Tensor):
            return value
    raise InvalidValueError(f"expected a tensor in the model's output, got a {type(output).__name__} without any")
