"""Cut target tokens in front of the heads that read them, where no language model does.

A head takes any number of tokens and makes one answer of them (the highest, the mean), so the fewer are all it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.attached import Attached
from tokprune.adapters.calls import Observation, current_call, enter_call
from tokprune.adapters.capture import Capture
from tokprune.adapters.entrance import Entrance
from tokprune.adapters.hooks import Hook
from tokprune.adapters.modules import module_at
from tokprune.adapters.reducing import reduce_tokens
from tokprune.adapters.refusals import refuse_after, refuse_what_needs_a_mask
from tokprune.adapters.shape import Relied, takes
from tokprune.adapters.sources import AttentionSource, chosen_sources
from tokprune.functional import kept_index
from tokprune.interfaces import Cut, Observed
from tokprune.keep import keep_count
from tokprune.signal import ATTENTION_NAMES, Signal


@dataclass(frozen=True, eq=False)
class HeadFamily:
    """A model whose query tokens go from a Q-Former straight into heads.

    Args:
        name: name of the adapter, for messages.
        sources: signal -> all its attention layers, in order.
        reads: path of the module that makes the query tokens: it reads an image when it is first called, and a text
            later, or never.
        heads: paths of the modules that take query tokens `[image token dim]`; which of them runs is up to the call.
        tokens: number of query tokens of each image; what stands behind them is no target.
        padded: as in `DelegatedFamily`.
    """

    name: str
    sources: Mapping[str, Sequence[AttentionSource]]
    reads: str
    heads: Sequence[str]
    tokens: int
    padded: str | None = None


@dataclass(kw_only=True)
class HeadCall(Observation):
    """One call of a model whose query tokens go into a head."""

    kept: Tensor | None = None
    signal: Signal | None = None


class HeadCut(Attached):
    """A cut of the query tokens on one model of a `HeadFamily`."""

    def __init__(
        self, model: nn.Module, family: HeadFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        super().__init__(model, cut, done, owner)
        self.family = family
        self._refuse()
        self.former = module_at(model, family.reads)
        self.heads = [module_at(model, path) for path in family.heads]
        sources = chosen_sources(family.sources, cut)
        watched = (family.reads, *family.heads)
        self.capture = Capture(self, model, sources, watched=watched, padded=family.padded)
        self._attach()

    @property
    def reader(self) -> nn.Module:
        """The heads."""
        return nn.ModuleList(self.heads)

    def _refuse(self) -> None:
        where = f"adapter {self.family.name!r} target {self.cut.target!r}"
        refuse_after(where, "behind the encoder", self.cut, ", or choose target 'image'")
        refuse_what_needs_a_mask(where, self.cut, "what reads them")

    def _relies(self) -> list[Relied]:
        return [takes(self.former, "forward", "query_embeds", "encoder_hidden_states"), *self.capture.relies()]

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
        tokens: Tensor = output[0][:, : self.family.tokens]
        call.signal = self._signal(call, tokens)
        call.kept = self.cut.choose(call.signal)
        call.done = True  # a text that is read by the same layers has no vote
        call.votes.clear()

    def _on_head(self, head: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        call = current_call(self)
        if call is None or call.kept is None:
            return None
        tokens: Tensor = args[0]
        kept, sizes = call.kept.to(tokens.device), None
        before = tokens.shape[1]
        count = keep_count(self.cut.keep or 1.0, before)
        if count < before:
            tokens, sizes = reduce_tokens(self.cut.reduction, tokens, kept, call.signal)
            rows = kept_index(kept, count)[..., None].expand(-1, -1, tokens.shape[-1])
            tokens = tokens.gather(1, rows)
        self.done(Observed(call.kept, before, tokens.shape[1], sizes))
        return (tokens, *args[1:])

    def _signal(self, call: HeadCall, tokens: Tensor) -> Signal:
        sources = self.family.sources
        found: dict[str, Any] = {
            name: self.capture.layer_votes(call, name, range(len(sources[name])))
            for name in ATTENTION_NAMES
            if name in self.cut.needs
        }
        if "tokens" in self.cut.needs:
            found["tokens"] = tokens.detach()
        return Signal(
            **found,
            shape=(tokens.shape[0], tokens.shape[1]),
            source=f"adapter {self.family.name!r} target {self.cut.target!r}",
        )
