"""Made-up observations of models that do not exist, from tiny to middling, to try scorers on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from tokprune.layers import Layers, LayerVotes, layer_indices
from tokprune.signal import ATTENTION_NAMES, Signal, Text
from tokprune.votes import AttentionVotes, Votes

Target = Literal["query", "image"]


@dataclass(frozen=True, eq=False)
class Observation:
    """The raw tensors behind a signal, so that a check can permute, slice and cast them.

    Attributes:
        target: "query": image tokens vote for query tokens in `cross_attention`, and `encoder_attention` is about the
            image tokens. "image": other tokens attend to image tokens, and `encoder_attention` is about them too.
        tokens: `[batch token dim]`.
        attention: signal -> one (query, key) per layer, each `[batch head token dim]`.
        text: `[batch text dim]`.
    """

    target: Target
    tokens: Tensor
    attention: Mapping[str, tuple[tuple[Tensor, Tensor], ...]]
    text: Tensor

    def signal(self, needs: tuple[str, ...], layers_read: Mapping[str, Layers] | None = None) -> Signal:
        """What an adapter would offer to a scorer that declares `needs` and `layers_read`: that, and nothing else."""
        found: dict[str, Any] = {}
        for name in ATTENTION_NAMES:
            if name in needs:
                layers = self.attention[name]
                wanted = layer_indices((layers_read or {}).get(name, "all"), len(layers))
                found[name] = LayerVotes({i: self._votes(name, i) for i in wanted}, len(layers), name)
        if "tokens" in needs:
            found["tokens"] = self.tokens
        if "text" in needs:
            found["text"] = Text(self.text, torch.ones(self.text.shape[:2], dtype=torch.bool))
        if "grid" in needs:
            found["grid"] = (1, self.tokens.shape[1])
        return Signal(**found, shape=(self.tokens.shape[0], self.tokens.shape[1]), source="the conformance kit")

    def _votes(self, name: str, layer: int) -> Votes:
        query, key = self.attention[name][layer]
        queries_stand = name == "cross_attention" and self.target == "query"
        scale = query.shape[-1] ** -0.5
        return AttentionVotes(query, key, scale, candidates="query" if queries_stand else "key", layer=layer)

    def images(self, *rows: int) -> Observation:
        """Only these images of the batch."""
        return self._changed(lambda tensor: tensor[list(rows)])

    def to(self, dtype: torch.dtype) -> Observation:
        """The same numbers in another floating type."""
        return self._changed(lambda tensor: tensor.to(dtype))

    def clone(self) -> Observation:
        """A copy that shares no memory."""
        return self._changed(lambda tensor: tensor.clone())

    def permuted(self, order: Tensor) -> Observation:
        """The same model with its target tokens in another order."""

        def reordered(name: str, part: int, tensor: Tensor) -> Tensor:
            sides = {"self_attention": (True, True), "encoder_attention": (self.target == "image",) * 2}
            cross = (self.target == "query", self.target == "image")
            return tensor[:, :, order] if sides.get(name, cross)[part] else tensor

        moved = {
            name: tuple((reordered(name, 0, query), reordered(name, 1, key)) for query, key in layers)
            for name, layers in self.attention.items()
        }
        return replace(self, tokens=self.tokens[:, order], attention=moved)

    def same_as(self, other: Observation) -> bool:
        """Whether all numbers are equal."""
        return all(bool((a == b).all()) for a, b in zip(self._tensors(), other._tensors(), strict=True))

    def _tensors(self) -> list[Tensor]:
        layers = [pair for layers in self.attention.values() for pair in layers]
        return [self.tokens, self.text, *(tensor for pair in layers for tensor in pair)]

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Observation:
        moved = {
            name: tuple((change(query), change(key)) for query, key in layers)
            for name, layers in self.attention.items()
        }
        return replace(self, tokens=change(self.tokens), attention=moved, text=change(self.text))

    def __str__(self) -> str:
        batch, tokens, _ = self.tokens.shape
        others = self.attention["encoder_attention"][0][0].shape[2]
        dtype = str(self.tokens.dtype).removeprefix("torch.")
        return f"{batch} image(s) of {tokens} target token(s) and {others} other token(s), {dtype}"


def observations(layers: int = 4, target: Target = "query") -> Iterator[Observation]:
    """Observations to check a scorer on, the smallest first; always the same ones.

    They hold a single token, a single image, exact ties (whole numbers, and tokens that occur twice) and ordinary
    numbers; attention logits spread by about 2, because nearly uniform attention decides by rounding alone.

    Args:
        layers: how many layers each attention signal has.
        target: what the target tokens are.
    """
    yield _observation(1, 1, 1, layers, target, whole=True)
    yield _observation(1, 2, 1, layers, target, whole=True)
    yield _observation(2, 1, 2, layers, target)
    yield _observation(2, 3, 2, layers, target, whole=True)
    yield _observation(2, 4, 3, layers, target)
    yield _observation(3, 6, 5, layers, target, twins=True)
    yield _observation(3, 32, 17, layers, target)


def large_observation(layers: int = 4, target: Target = "query") -> Observation:
    """Numbers that half precision can hold but not square or add up: their sums pass 65,504."""
    made = _observation(2, 6, 5, layers, target)
    return replace(made, tokens=made.tokens.clamp(-3, 3) * 300)


def _observation(
    batch: int, tokens: int, others: int, layers: int, target: Target, whole: bool = False, twins: bool = False
) -> Observation:
    generator = torch.Generator().manual_seed(1000 * batch + 10 * tokens + others)

    def draw(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator) * 1.5
        return drawn.round() if whole else drawn

    def layer_of(queries: int, keys: int) -> tuple[Tensor, Tensor]:
        return draw(batch, 2, queries, 8), draw(batch, 2, keys, 8)

    cross = (tokens, others) if target == "query" else (others, tokens)
    encoder = tokens if target == "image" else others
    made = Observation(
        target,
        draw(batch, tokens, 16),
        {
            "cross_attention": tuple(layer_of(*cross) for _ in range(layers)),
            "self_attention": tuple(layer_of(tokens, tokens) for _ in range(layers)),
            "encoder_attention": tuple(layer_of(encoder, encoder) for _ in range(layers)),
        },
        draw(batch, 3, 16),
    )
    if not twins:
        return made
    return made.permuted(torch.arange(tokens) // 2)  # every token occurs twice
