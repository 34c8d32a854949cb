"""Random weights: a model of a given configuration, built at once in its final dtype and place."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.bench.weightless import weightless
from tokprune.errors import InvalidValueError


def random_model(
    config: Any, *, device: str = "cpu", dtype: str = "float32", attention: str = "sdpa", seed: int = 0
) -> Any:
    """A model with random weights, in evaluation mode and without gradients.

    No weight is ever made twice: the architecture comes without memory, then each weight is drawn where it stays, in
    the dtype that `from_pretrained` would give it (in float16 the Q-Former stays float32). The draws keep activations
    near 1 through every layer, so that nothing overflows in half precision and attention is far from uniform.

    Args:
        config: A transformers configuration with a model for image-text-to-text, such as `real_size_config` gives.
        device: Torch device.
        dtype: "float32", "bfloat16" or "float16".
        attention: Attention implementation.
        seed: Another seed draws other weights.

    Raises:
        InvalidValueError: The device is not there or cannot hold the model, or the model lacks this attention.
    """
    try:
        model = weightless(config, attention, buffers=True)
    except (ValueError, ImportError) as error:
        raise InvalidValueError(f"attention {attention!r}: {str(error).splitlines()[0]}") from error
    _set_dtype(model, getattr(torch, dtype))
    try:
        _draw(model, torch.Generator(device).manual_seed(seed))
        return model.to(device)  # buffers; the weights are there already
    except (RuntimeError, AssertionError) as error:
        raise InvalidValueError(f"device {device!r}: {str(error).splitlines()[0]}") from error


def _set_dtype(model: Any, dtype: torch.dtype) -> None:
    """Gives each parameter the dtype that `from_pretrained` loads it in, by transformers' own lists."""
    stays: set[str] = set()
    if dtype == torch.float16:
        stays |= set(model._keep_in_fp32_modules or ())
    if dtype in (torch.float16, torch.bfloat16):
        stays |= set(model._keep_in_fp32_modules_strict or ())
    pattern = re.compile("|".join(name.replace("*", ".*") for name in sorted(stays)) or r"\Z\A")
    for name, parameter in model.named_parameters():  # and no buffer: rotary tables stay in float32
        parameter.data = parameter.data.to(torch.float32 if pattern.search(name) else dtype)
    model.config.dtype = dtype


def _draw(model: nn.Module, generator: torch.Generator) -> None:
    drawn: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in drawn:
                value = _weight(name, parameter, generator)
                drawn[id(parameter)] = nn.Parameter(value, requires_grad=False)
            module._parameters[name] = drawn[id(parameter)]


def _weight(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    weight = torch.empty(like.shape, dtype=like.dtype, device=generator.device)
    if like.ndim < 2:
        return weight.fill_(1.0 if name.endswith(("weight", "gate")) else 0.0)  # norms scale by 1, biases shift by 0
    # Learned tokens and positions [1, token, dim] are read one by one; matrices and filters sum over all but the first.
    spread = 1.0 if like.ndim == 3 else float(like[0].numel()) ** -0.5
    weight.normal_(0.0, spread, generator=generator)
    return weight.sub_(weight.mean(1, keepdim=True)) if like.ndim == 2 else weight
