"""Refuses calls of a model that cannot be pruned rightly, before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.callbacks import shown
from tokprune.adapters.calls import Observation, current_call, during_call
from tokprune.adapters.entrance import Entrance
from tokprune.adapters.hooks import MethodShim
from tokprune.adapters.outercall import Options, named_arguments


@dataclass(kw_only=True)
class Generation(Observation):
    """A call of `generate`."""

    arguments: Mapping[str, Any]


class Guard:
    """Looks at the arguments of `forward` and `generate` of the outer model.

    Args:
        model: the outer model.
        owner: the attachment that it guards.
        check: called with the arguments of each outer call, and with the options of the generation if it is one (else
            None); raises if the call cannot be pruned rightly.
    """

    def __init__(
        self,
        model: nn.Module,
        owner: object,
        check: Callable[[Mapping[str, Any], Options | None], None],
    ) -> None:
        self.model, self.owner, self.check = model, owner, check

    @property
    def generation(self) -> Mapping[str, Any] | None:
        """The arguments of the generation that is under way; None if none is."""
        call = current_call(self)
        return call.arguments if isinstance(call, Generation) else None

    def install(self, undo: list[Any]) -> None:
        """Put the stand-ins on the model, and append them to `undo`."""
        Entrance(self.owner, self.model, self._on_forward, opens=False).install(undo)
        if hasattr(self.model, "generate"):
            MethodShim(self.model, "generate", self._around_generate).install(undo)

    def _on_forward(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.generation is None:  # else `generate` calls, which was looked at and brings what it made itself
            self.check(named_arguments(model.forward, args, kwargs), None)

    def _around_generate(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        arguments = named_arguments(original, args, kwargs)
        self.check(arguments, Options(arguments, self.model))
        args, kwargs = tuple(map(_own, args)), {name: _own(value) for name, value in kwargs.items()}
        args, kwargs = shown(original, args, kwargs)
        with during_call(self, Generation(arguments=arguments)):
            return original(*args, **kwargs)


def _own(value: Any) -> Any:
    """A copy of token ids: BLIP's `generate` writes into those of its caller."""
    return value.clone() if isinstance(value, Tensor) and value.dtype == torch.long else value
