"""What a call brought that could have been pruned, and whether anything was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from tokprune.adapters.generations import filled
from tokprune.adapters.outercall import named_arguments
from tokprune.adapters.upstream import ENCODER_OUTPUTS, MEDIA, cache_in
from tokprune.errors import UnsupportedCallError


@dataclass(kw_only=True)
class Brought:
    """What one outermost call brought.

    Attributes:
        names: the arguments that carry images, video or sound.
        goes_on: whether the call goes on from tokens that an earlier call pruned: with its cache, or with what its
            encoder gave. What the handle reports is still that.
        pruned: whether a policy acted in it, be it that it kept everything.
    """

    names: tuple[str, ...]
    goes_on: bool
    pruned: bool = False

    @classmethod
    def by(cls, method: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Brought:
        """What a call of `method` brings."""
        try:
            arguments = named_arguments(method, args, kwargs)
        except UnsupportedCallError:  # a mechanism that has to know the names refuses it
            arguments = dict(kwargs)
        names = tuple(name for name in MEDIA if _given(arguments.get(name)))
        cache = cache_in(arguments)
        known = hasattr(cache, "get_seq_length") and filled(cache)
        return cls(names=names, goes_on=known or arguments.get(ENCODER_OUTPUTS) is not None)

    def nothing(self, model: nn.Module, never: Sequence[str]) -> str | None:
        """In words, that it brings nothing that the policy prunes; None if it does."""
        if set(self.names) - set(never):
            return None
        return _left(model, self.names[0]) if self.names else "they bring no images, video or sound"

    def unpruned(self, model: nn.Module, module: nn.Module, never: Sequence[str], within: bool) -> str | None:
        """Why something of it was not pruned, in words; None if there is nothing to say.

        Args:
            model: the whole model.
            module: what was called.
            never: arguments whose tokens the policy never prunes.
            within: whether a call of the part `module` reads a whole prompt.
        """
        left = [name for name in self.names if name in never]
        if left:
            return (
                f"{left[0]} came with a call of {type(model).__name__}, whose video tokens are not pruned: images are"
            )
        if self.pruned or self.goes_on or not self.names:
            return None
        if module is not model:
            if not within:
                return None  # a part such as an encoder, which another part goes on from
            return (
                f"{type(module).__name__} was called by itself with {self.names[0]}, and tokens leave where the whole "
                f"{type(model).__name__} is called; call that, or nothing is pruned"
            )
        return (
            f"{self.names[0]} came with a call of {type(model).__name__} in which the place where tokens leave was "
            "never reached, so nothing was pruned; handle.check(inputs) looks for the reason"
        )


def _given(value: Any) -> bool:
    return value is not None and not (isinstance(value, Mapping) and not value)


def _left(model: nn.Module, name: str) -> str:
    return f"{name} came with a call of {type(model).__name__}: video tokens are not pruned, only those of images"
