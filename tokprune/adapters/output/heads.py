"""Prunes query tokens in front of the heads that read them, where no language model does.

A head takes any number of tokens and makes one answer of them (the highest, the mean), so the fewer are all it needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.calls import current_call, enter_call
from tokprune.adapters.capture import Capture
from tokprune.adapters.entrance import Entrance
from tokprune.adapters.hooks import Hook
from tokprune.adapters.modules import module_at
from tokprune.adapters.output.family import HeadFamily
from tokprune.adapters.output.pruning import Output, OutputPruning
from tokprune.adapters.refusals import refuse_after, refuse_what_needs_a_mask
from tokprune.adapters.shape import Relied, takes
from tokprune.adapters.sources import chosen_sources
from tokprune.interfaces import Cut, Observed
from tokprune.keep import keep_count
from tokprune.signal import Signal


@dataclass(kw_only=True)
class HeadCall(Output):
    """One call of a model whose query tokens go into a head."""

    signal: Signal | None = None


class HeadPruning(OutputPruning):
    """Output pruning of the query tokens on one model of a `HeadFamily`."""

    def __init__(
        self, model: nn.Module, family: HeadFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        super().__init__(model, cut, done, owner)
        self.family = family
        refuse_after(self.where, "after the Q-Former", cut, ", or choose target 'image'")
        refuse_what_needs_a_mask(self.where, cut, "what reads them")
        self.former = module_at(model, family.reads)
        self.heads = [module_at(model, path) for path in family.heads]
        sources = chosen_sources(family.sources, cut)
        watched = (family.reads, *family.heads)
        self.capture = Capture(self, model, sources, watched=watched)
        self._attach()

    @property
    def reader(self) -> nn.Module:
        """The heads."""
        return nn.ModuleList(self.heads)

    def _relies(self) -> list[Relied]:
        return [takes(self.former, "forward", "query_embeds", "encoder_hidden_states")]

    def _install(self, undo: list[Any]) -> None:
        Entrance(self, self.model, self._begin).install(undo)
        self.capture.install(undo)
        undo.append(self.former.register_forward_hook(Hook(self._on_tokens)))
        for head in self.heads:
            undo.append(head.register_forward_pre_hook(Hook(self._on_head)))

    def _begin(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self.capture.verify()
        enter_call(self, HeadCall())

    def _on_tokens(self, former: nn.Module, args: Any, output: Any) -> None:
        call = current_call(self)
        if call is None or call.done:
            return
        layers = {name: range(len(sources)) for name, sources in self.family.sources.items()}
        call.signal = self._signal(call, output[0][:, : self.family.tokens], layers)
        call.choices.append(self.cut.choose(call.signal))
        call.done = True  # a text that is read by the same layers has no vote
        call.votes.clear()

    def _on_head(self, head: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        call = current_call(self)
        if call is None or call.signal is None:
            return None
        tokens: Tensor = args[0]
        count = keep_count(self.cut.keep or 1.0, tokens.shape[1])
        call.alive = call.sizes = None
        tokens = self._shorter(call, tokens, call.choices[0], call.signal, count)
        self._report(call, tokens.shape[1])
        return (tokens, *args[1:])
