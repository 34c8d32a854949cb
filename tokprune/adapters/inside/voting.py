"""In front of the cut: what the voters of a prompt ask, and what everybody answers, in the layers that are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.calls import current_call
from tokprune.adapters.hooks import Hook
from tokprune.adapters.inside.call import Prompt
from tokprune.adapters.inside.family import DecoderFamily
from tokprune.adapters.inside.layout import Looks
from tokprune.adapters.modules import module_at
from tokprune.adapters.upstream import rotated
from tokprune.errors import UnsupportedCallError


class Voting:
    """Hooks on layers of the language model that note queries and keys for the calls of `owner`.

    Args:
        owner: whose calls are observed.
        model: the whole model.
        family: what it is.
        wanted: the layers to observe.
    """

    def __init__(self, owner: object, model: nn.Module, family: DecoderFamily, wanted: Sequence[int]) -> None:
        self.owner, self.model, self.family, self.wanted = owner, model, family, wanted
        self.layers = {index: module_at(model, family.at(family.layers, str(index))) for index in wanted}

    @property
    def watched(self) -> list[str]:
        """Paths of the modules that must stay the ones they are."""
        return [self.family.at(self.family.layers, str(index)) for index in self.wanted] + [
            self._projection(index, side) for index in self.wanted for side in (self.family.query, self.family.key)
        ]

    def install(self, undo: list[Any]) -> None:
        """Register the hooks and append their handles to `undo`."""
        for index in self.wanted:
            undo.append(self.layers[index].register_forward_pre_hook(Hook(self._on_layer), with_kwargs=True))
            for side in (self.family.query, self.family.key):
                module = module_at(self.model, self._projection(index, side))
                undo.append(module.register_forward_hook(Hook(self._on_projection, index, side)))

    def _projection(self, index: int, side: str) -> str:
        return self.family.at(self.family.layers, str(index), self.family.attention, side)

    def _on_layer(self, layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        call = current_call(self.owner)
        if isinstance(call, Prompt) and not call.done:
            call.turns, call.mask = kwargs["position_embeddings"], kwargs.get("attention_mask")

    def _on_projection(self, index: int, side: str, module: nn.Module, args: Any, output: Tensor) -> None:
        call = current_call(self.owner)
        if not isinstance(call, Prompt) or call.done:
            return
        halves = call.halves.setdefault(("cross_attention", index), {})
        halves[side] = output.detach()
        if len(halves) < 2:
            return
        attention: Any = self.layers[index].get_submodule(self.family.attention)
        query, key = (_heads(attention, halves[name]) for name in (self.family.query, self.family.key))
        del call.halves["cross_attention", index]
        turns = tuple(call.once(each) for each in call.turns)
        query, key = rotated(attention, call.once(query), call.once(key), turns)
        if call.voters is None:
            call.voters = call.layout.voters()
        voters = call.voters.index.to(query.device)[:, None, :, None]
        query = query.gather(2, voters.expand(-1, query.shape[1], -1, query.shape[3]))
        call.looks[index] = Looks(query, key, _allowed(call), call.voters, attention.scaling, index)


def _heads(attention: Any, output: Tensor) -> Tensor:
    """`[row head sequence dim]`, from a projection `[row sequence features]` or a norm of the heads apart."""
    if output.dim() == 3:
        output = output.reshape(*output.shape[:2], -1, attention.head_dim)
    return output.transpose(1, 2)


def _allowed(call: Prompt) -> Tensor:
    """Who of the voters sees whom, bool `[row 1 voter sequence]`; who only fills up sees nobody."""
    voters = call.voters
    if voters is None:
        raise UnsupportedCallError("no layer was asked for votes; please report this")
    index = voters.index
    if call.mask is None:
        own = torch.arange(voters.before, device=index.device)
        allowed = (own[None, None, :] <= index[:, :, None])[:, None]
    else:
        mask = call.once(call.mask).expand(index.shape[0], -1, -1, -1)
        mask = mask if mask.dtype == torch.bool else mask == 0
        index = index.to(mask.device)[:, None, :, None]
        allowed = mask.gather(2, index.expand(-1, mask.shape[1], -1, mask.shape[3]))
    return allowed if voters.valid is None else allowed & voters.valid.to(allowed.device)[:, None, :, None]
