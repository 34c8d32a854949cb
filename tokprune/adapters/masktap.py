"""Weigh the keys of attention modules that the tap does not reach, through the mask that they add to their logits."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.hooks import Hook
from tokprune.adapters.tap import Seen, Tap, reaches
from tokprune.adapters.upstream import added_mask
from tokprune.functional.proportional import biased_mask


class MaskTap(Hook):
    """Weighs the keys of an attention module that no `Tap` reaches, through its mask that is added to the logits.

    Args:
        module: the attention module.
        argument: name of its argument that carries the mask `[row 1 query key]`.
        weigh: as of a `Tap`; the `Seen` has no heads, and shows what the keys are made of.
        keys: name of the argument that brings what keys are made of; where it is None or missing, the first argument.
        first: arguments to put in front of the `Seen`.
    """

    def __init__(
        self,
        module: nn.Module,
        argument: str,
        *,
        weigh: Callable[..., Tensor | None],
        keys: str | None = None,
        first: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(weigh, *first)
        self.module, self.argument, self.keys = module, argument, keys
        self._handle: Any = None

    def install(self) -> None:
        """Put the tap on the module."""
        self._handle = self.module.register_forward_pre_hook(self, with_kwargs=True)

    def remove(self) -> None:
        """Take the tap off."""
        if self._handle is not None:
            self._handle.remove()

    def __call__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What torch calls in front of the module's forward."""
        if not self.attachment.underway.admits():
            return None
        names = list(inspect.signature(module.forward).parameters)
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        queries = given[names[0]]
        states = given.get(self.keys) if self.keys else None
        states = queries if states is None else states
        mask = given.get(self.argument)
        bias = self.method(*self.first, Seen(queries[:, None], states[:, None], states[:, None], mask, 1.0))
        if bias is None:
            return None
        given[self.argument] = self.weighed(queries, states, mask, bias)
        return (), given

    def weighed(self, queries: Tensor, states: Tensor, mask: Any, bias: Tensor) -> Tensor:
        """The mask with `bias` `[row key]` on its columns."""
        found = biased_mask(queries[:, None], states[:, None], mask, bias, causal=False)
        return found.expand(-1, -1, queries.shape[1], -1)  # TrOCR wants it in full


class PaddingTap(MaskTap):
    """The same for torch's own attention module, whose mask of padding `[row key]` may be one that is added."""

    def weighed(self, queries: Tensor, states: Tensor, mask: Any, bias: Tensor) -> Tensor:
        """The mask of padding with `bias` `[row key]` added."""
        bias = bias.to(queries.dtype)
        if mask is None:
            return bias
        return bias.masked_fill(mask, float("-inf")) if mask.dtype == torch.bool else bias + mask


def weighing_tap(module: nn.Module, weigh: Callable[..., Tensor | None], first: tuple[Any, ...] = ()) -> Any:
    """A tap that lets `weigh` weigh the keys of `module`; None if there is no way to them."""
    if reaches(module):
        return Tap(module, weigh=weigh, first=first)
    if isinstance(module, nn.MultiheadAttention):
        return PaddingTap(module, "key_padding_mask", weigh=weigh, keys="key", first=first)
    found = added_mask(module)
    return None if found is None else MaskTap(module, found[0], weigh=weigh, keys=found[1], first=first)
