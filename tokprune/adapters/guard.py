"""Refuses calls of a model that cannot be pruned rightly, before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.calls import Observation, current_call, enter_call, leave_call
from tokprune.adapters.crossing import CrossFamily
from tokprune.adapters.hooks import Hook
from tokprune.adapters.modules import MethodShim, arguments_of
from tokprune.errors import UnsupportedCallError


class Options:
    """How a generation is to be done: what the call says, else its configuration, else the model's own.

    Args:
        arguments: those of the call.
        model: whose `generate` is called.
    """

    def __init__(self, arguments: Mapping[str, Any], model: nn.Module) -> None:
        configs = (arguments.get("generation_config"), getattr(model, "generation_config", None))
        self.arguments, self.configs = arguments, configs

    def get(self, name: str) -> Any:
        """The value of an option; None if nobody sets it."""
        found = self.arguments.get(name)
        for config in self.configs:
            found = getattr(config, name, None) if found is None else found
        return found


class Guard:
    """Looks at the arguments of `forward` and `generate` of the outer model.

    Args:
        model: the outer model.
        family: what it is.
        owner: whose cut it guards.
        check: called with the arguments of each outer call, and with the options of the generation if it is one (else
            None); raises if the call cannot be pruned rightly.
    """

    def __init__(
        self,
        model: nn.Module,
        family: CrossFamily,
        owner: object,
        check: Callable[[Mapping[str, Any], Options | None], None],
    ) -> None:
        self.model, self.family, self.owner, self.check = model, family, owner, check

    def install(self, undo: list[Any]) -> None:
        """Register the hook and the shim, and append them to `undo`."""
        undo.append(self.model.register_forward_pre_hook(Hook(self._on_forward), with_kwargs=True, prepend=True))
        if hasattr(self.model, "generate"):
            shim = MethodShim(self.model, "generate", self._around_generate)
            shim.install()
            undo.append(shim)

    def _on_forward(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if current_call(self) is None:  # else `generate` calls, which was looked at and brings what it made itself
            self.check(arguments_of(model, args, kwargs), None)

    def _around_generate(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        arguments = {**dict(zip(inspect.signature(original).parameters, args, strict=False)), **kwargs}
        options = Options(arguments, self.model)
        for name, reason in self.family.refused.items():
            found = options.get(name)
            if found is not None and found is not False:
                raise UnsupportedCallError(f"adapter {self.family.name!r}: {name} in generate: {reason}")
        self.check(arguments, options)
        args, kwargs = tuple(map(_own, args)), {name: _own(value) for name, value in kwargs.items()}
        enter_call(self, Observation())
        try:
            return original(*args, **kwargs)
        finally:
            leave_call(self)


def _own(value: Any) -> Any:
    """A copy of token ids: BLIP's `generate` writes into those of its caller."""
    return value.clone() if isinstance(value, Tensor) and value.dtype == torch.long else value
