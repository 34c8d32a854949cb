"""Where the queries and keys of one attention layer come from, and how they become votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tokprune.interfaces import Cut
from tokprune.layers import layer_indices
from tokprune.signal import ATTENTION_NAMES
from tokprune.votes import AttentionVotes


@dataclass(frozen=True)
class AttentionSource:
    """One attention layer, described by the projection modules that make its queries and keys.

    Hooks on the projections see the same tensors under every attention implementation (eager, sdpa, flash), so
    nothing about the model has to be switched.

    Args:
        signal: the signal it belongs to ("cross_attention", ...).
        layer: index among the layers of that signal.
        modules: path of the projection module -> which parts it makes: "query", "key", or "query key value" for a
            fused projection whose output is `[batch token 3 * head * dim]`, in that order. A module behind the
            projection may give the heads apart, `[batch head token dim]`.
        heads: number of attention heads.
        scale: factor on the dot products.
        candidates: which side is the target, as in `AttentionVotes`.
        protected: how many tokens at the front of the target's side are no candidates.
        leading: how many tokens at the front of a self-attention are the candidates, where others come behind them (a
            question that is read along): those vote too, unless they are padding. None if there are no others.
        attention: path of the attention module, where its keyword arguments matter, too.
    """

    signal: str
    layer: int
    modules: tuple[tuple[str, str], ...]
    heads: int
    scale: float
    candidates: Literal["query", "key"]
    protected: int = 0
    leading: int | None = None
    attention: str | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Keyword arguments of the attention module that matter."""
        return ()

    @property
    def slot(self) -> tuple[str, int]:
        """Signal and layer: what the votes are filed under."""
        return self.signal, self.layer

    @property
    def padded(self) -> bool:
        """Whether it matters which tokens are padding."""
        return self.leading is not None

    def split(self, parts: str, output: Tensor) -> dict[str, Tensor]:
        """Queries and keys `[batch head token dim]` in a projection's output `[batch token features]`.

        An output whose heads are apart already (a norm behind the projection) is taken as it is.
        """
        if output.dim() == 4:
            return {parts: output.detach()}
        names = parts.split()
        if output.dim() == 4:  # heads apart already
            return {names[0]: output.detach()}
        chunks = output.detach().chunk(len(names), dim=-1)
        return {
            name: chunk.reshape(*chunk.shape[:-1], self.heads, -1).transpose(1, 2)
            for name, chunk in zip(names, chunks, strict=True)
            if name != "value"
        }

    def votes(self, halves: dict[str, Tensor], real: Tensor | None = None) -> AttentionVotes:
        """Lazy votes of this layer; `real` (bool `[batch token]`) says which tokens are no padding, None: all.

        Tokens behind the candidates are moved in front of them, where protected tokens stand: attention knows no order.
        """
        query, key, protected = halves["query"], halves["key"], self.protected
        mask = weights = None
        if self.leading is not None:
            query, key = query.roll(-self.leading, dims=2), key.roll(-self.leading, dims=2)
            protected = key.shape[2] - self.leading
            if real is not None:
                real = real.to(key.device).roll(-self.leading, dims=1)
                mask = real[:, None, :, None] & real[:, None, None, :]  # padding neither receives nor votes ...
                weights = real.float().repeat(1, self.heads)  # ... nor counts where votes are ranked
        return AttentionVotes(
            query,
            key,
            self.scale,
            mask,
            candidates=self.candidates,
            weights=weights,
            layer=self.layer,
            protected=protected,
        )


def chosen_sources(sources: Mapping[str, Sequence[AttentionSource]], cut: Cut) -> list[AttentionSource]:
    """Of all attention layers, those that a policy asks for."""
    return [
        sources[name][index]
        for name in ATTENTION_NAMES
        if name in cut.needs
        for index in layer_indices(cut.needs[name], len(sources[name]))
    ]
