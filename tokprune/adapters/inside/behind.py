"""Behind the cut: the layers are given the shorter sequence, and the norm behind the last a whole one again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.calls import current_call
from tokprune.adapters.hooks import Hook
from tokprune.adapters.inside.call import Continuation
from tokprune.adapters.inside.shorter import Shorter
from tokprune.adapters.upstream import cache_in


class Behind:
    """Hooks on the layers behind the cut, for the calls of `owner`.

    Args:
        owner: whose calls they are.
        layers: all layers.
        place: how many of them are in front of the cut.
        norm: what reads the last layer.
        shorten: given the call, the hidden states and the arguments of the first layer behind the cut, holds the
            election and returns the hidden states that go on.
    """

    def __init__(
        self,
        owner: object,
        layers: list[nn.Module],
        place: int,
        norm: nn.Module,
        shorten: Callable[[Any, Tensor, dict[str, Any]], Tensor],
    ) -> None:
        self.owner, self.layers, self.place, self.norm, self.shorten = owner, layers, place, norm, shorten

    def install(self, undo: list[Any]) -> None:
        """Register the hooks and append their handles to `undo`."""
        for index in range(self.place, len(self.layers)):
            hook = Hook(self._on_layer, index)
            undo.append(self.layers[index].register_forward_pre_hook(hook, with_kwargs=True))
        undo.append(self.norm.register_forward_pre_hook(Hook(self._on_norm)))

    def _on_layer(
        self, index: int, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        call = current_call(self.owner)
        if call is None:
            return None
        states: Tensor = args[0] if args else kwargs["hidden_states"]
        if isinstance(call, Continuation):
            return args, _continued(call.shorter, states, kwargs)
        first = index == self.place
        if first:
            states = self.shorten(call, states, kwargs)
        if call.shorter is None:
            return None
        if not call.given:
            call.given = _replaced(call.shorter, kwargs)
        kwargs = {**kwargs, **call.given}
        if not first:
            return args, kwargs
        return ((states, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": states})

    def _on_norm(self, norm: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        call = current_call(self.owner)
        if call is None or isinstance(call, Continuation) or call.shorter is None:
            return None
        return call.shorter.restored(args[0]), *args[1:]


def _continued(shorter: Shorter, states: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a layer is given instead, where a call goes on from a cache that was cut."""
    # The first layer has already put the new tokens into its part of the cache.
    total = cache_in(kwargs).get_seq_length()
    return {**kwargs, "attention_mask": shorter.later_mask(kwargs.get("attention_mask"), states.shape[1], total)}


def _replaced(shorter: Shorter, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What the layers are given instead of what belongs to the whole sequence."""
    turns = tuple(shorter.positions(each) for each in kwargs["position_embeddings"])
    given = {"attention_mask": shorter.prompt_mask(kwargs.get("attention_mask")), "position_embeddings": turns}
    if kwargs.get("position_ids") is not None:
        given["position_ids"] = shorter.positions(kwargs["position_ids"])
    return given
