"""Where the queries and keys of one attention layer come from, and how they become votes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from tokprune.adapters.packed import PackedAttention
from tokprune.adapters.tap import Seen
from tokprune.interfaces import Cut
from tokprune.layers import layer_indices
from tokprune.signal import ATTENTION_NAMES
from tokprune.votes import AttentionVotes


@dataclass(frozen=True)
class AttentionSource:
    """One attention layer that votes; `tokprune.adapters.attention.find_attention` finds those of a model.

    A module that uses transformers' attention interface is tapped: what attends is seen after norms and rotation, with
    the mask. In other modules hooks observe the projections; they see the same under every attention implementation.

    Args:
        signal: the signal it belongs to ("cross_attention", ...).
        layer: index among the layers of that signal.
        modules: path of the projection module -> which parts it makes: "query", "key", or "query key value" for a
            fused projection whose output is `[batch token 3 * head * dim]`, in that order. A norm after the projection
            may give the heads apart, `[batch head token dim]`.
        heads: number of attention heads.
        scale: factor on the dot products.
        candidates: which side is the target, as in `AttentionVotes`.
        protected: how many tokens at the front of the target's side are no candidates.
        leading: how many tokens at the front of a self-attention are the candidates, where others follow (a question
            that is read along): those vote too, unless they are padding. None if there are no others.
        attention: path of the attention module, by which it can be tapped; None: only the projections are observed.
        padded: whether some of its tokens may be padding, which its mask hides: those neither vote nor get votes.
        packed: whether the encoder reads all images of a call as one sequence, each image for itself.
        own_keys: whether the queries are among the keys, at their end (a resampler): those do not vote.
        part: what is kept in place of votes, `[row token dim]` with all heads joined; None for the votes.
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
    padded: bool = False
    packed: bool = False
    own_keys: bool = False
    part: Literal["key", "value"] | None = None

    @property
    def slot(self) -> tuple[str, int]:
        """Signal and layer: what is observed is filed under these."""
        return self.signal, self.layer

    def split(self, parts: str, output: Tensor) -> dict[str, Tensor]:
        """Queries, keys and values `[batch head token dim]` in a projection's output `[batch token features]`.

        An output whose heads are apart already (a norm after the projection) is taken as it is.
        """
        names = parts.split()
        if output.dim() == 4:
            return {names[0]: output.detach()}
        chunks = output.detach().chunk(len(names), dim=-1)
        return {
            name: chunk.reshape(*chunk.shape[:-1], self.heads, -1).transpose(1, 2)
            for name, chunk in zip(names, chunks, strict=True)
        }

    def seen(self, parts: Mapping[str, Tensor]) -> Seen:
        """What the projections made, as a tap would see it."""
        return Seen(parts["query"], parts["key"], parts.get("value", parts["key"]), None, self.scale)

    def noted(self, seen: Seen, before: Any = None) -> Any:
        """What is kept of one call of the layer; `before` is what was kept of an earlier one in the same call."""
        if self.part is not None:
            states: Tensor = getattr(seen, self.part).detach().transpose(1, 2).flatten(2)
            return torch.cat([before, states], dim=1) if self.packed and before is not None else states
        if self.packed:
            return PackedAttention((*(before.calls if before is not None else ()), seen), self.layer)
        return self.votes(seen)

    def votes(self, seen: Seen) -> AttentionVotes:
        """Lazy votes of this layer.

        Tokens after the candidates are moved in front of them, where protected tokens stand: attention knows no order.
        """
        query, protected, leading = seen.query.detach(), self.protected, self.leading
        key = seen.key.detach()
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        mask = seen.allowed() if self.padded or leading is not None else None
        real = None
        if mask is not None:
            mask = mask.to(key.device)
            real = mask.any(dim=-2)[:, 0].expand(key.shape[0], -1)  # what nothing sees is padding
            if not self.own_keys:
                mask = mask & real[:, None, :, None]
        if leading is not None:
            query, key = query.roll(-leading, dims=2), key.roll(-leading, dims=2)
            protected = key.shape[2] - leading
            if mask is not None and real is not None:
                real, mask = real.roll(-leading, dims=1), mask.roll(-leading, dims=-2).roll(-leading, dims=-1)
        voters = None
        if self.own_keys:
            voters = (0, key.shape[2] - query.shape[2])
            real = None if real is None else real[:, : voters[1]]
        return AttentionVotes(
            query,
            key,
            seen.scale,
            mask,
            candidates=self.candidates,
            weights=None if real is None else real.float().repeat(1, query.shape[1]),
            layer=self.layer,
            protected=protected,
            voters=voters,
        )


def chosen_sources(sources: Mapping[str, Sequence[AttentionSource]], cut: Cut) -> list[AttentionSource]:
    """Of all attention layers, those that a policy asks for."""
    found = [
        sources[name][index]
        for name in ATTENTION_NAMES
        if name in cut.needs
        for index in layer_indices(cut.needs[name], len(sources[name]))
    ]
    return [*found, *vector_sources(sources.get("encoder_attention", ())[-1:], cut)]


def vector_sources(layers: Sequence[AttentionSource], cut: Cut) -> list[AttentionSource]:
    """The keys and values of these layers of an encoder, where a policy asks for them."""
    parts: dict[str, Literal["key", "value"]] = {"encoder_keys": "key", "encoder_values": "value"}
    return [
        replace(each, signal=name, part=part) for name, part in parts.items() if name in cut.needs for each in layers
    ]


def layer_around(source: AttentionSource) -> str:
    """Path of the layer that an attention is part of: up to the last number.

    Example:
        >>> layer_around(AttentionSource("a", 0, (), 1, 1.0, "key", attention="vision.layers.3.self_attn"))
        'vision.layers.3'
    """
    parts = str(source.attention).split(".")
    last = max(index for index, part in enumerate(parts) if part.isdigit())
    return ".".join(parts[: last + 1])
