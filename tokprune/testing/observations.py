"""Made-up observations of models that do not exist, from tiny to middling, to try scorers on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from tokprune.layers import Layers, LayerVotes, layer_indices
from tokprune.signal import ATTENTION_NAMES, SIGNAL_NAMES, VECTOR_NAMES, Signal, Text
from tokprune.votes import AttentionVotes, Votes

Target = Literal["query", "image"]


class WatchedSignal(Signal):
    """A signal that remembers what was read of it."""

    @property
    def read(self) -> frozenset[str]:
        """Names of the signals that were read so far."""
        return frozenset(self.__dict__.get("_read", ()))

    def __getattribute__(self, name: str) -> Any:
        if name in SIGNAL_NAMES:
            self.__dict__.setdefault("_read", set()).add(name)
        return super().__getattribute__(name)


@dataclass(frozen=True, eq=False)
class Observation:
    """The raw tensors behind a signal, so that a check can permute, slice and cast them.

    Attributes:
        target: "query": image tokens vote for query tokens in `cross_attention`, and `encoder_attention` is about the
            image tokens. "image": other tokens attend to image tokens, and `encoder_attention` is about them too.
        tokens: `[batch token dim]`.
        attention: signal -> one (query, key) per layer, each `[batch head token dim]`.
        text: `[batch text dim]`.
        protected: how many tokens there are in front of the image tokens in the encoder ([CLS]); they vote, and are no
            candidates. Only where the target is "image".
    """

    target: Target
    tokens: Tensor
    attention: Mapping[str, tuple[tuple[Tensor, Tensor], ...]]
    text: Tensor
    protected: int = 0

    def signal(self, needs: tuple[str, ...], layers_read: Mapping[str, Layers] | None = None) -> WatchedSignal:
        """What an adapter would offer to a scorer that declares `needs` and `layers_read`: that, and nothing else."""
        found: dict[str, Any] = {}
        for name in ATTENTION_NAMES:
            if name in needs:
                layers = self.attention[name]
                wanted = layer_indices((layers_read or {}).get(name, "all"), len(layers))
                found[name] = LayerVotes({i: self._votes(name, i) for i in wanted}, len(layers), name)
        for shift, name in enumerate(VECTOR_NAMES):
            if name in needs:
                # The tokens themselves, so that writing into them is noticed.
                found[name] = self.tokens.roll(shift, dims=-1) if shift else self.tokens
        if "text" in needs:
            found["text"] = Text(self.text, torch.ones(self.text.shape[:2], dtype=torch.bool, device=self.text.device))
        if "grid" in needs:
            found["grid"] = (1, self.tokens.shape[1])
        return WatchedSignal(**found, shape=(self.tokens.shape[0], self.tokens.shape[1]), source="the conformance kit")

    def _votes(self, name: str, layer: int) -> Votes:
        query, key = self.attention[name][layer]
        queries_stand = name == "cross_attention" and self.target == "query"
        scale = query.shape[-1] ** -0.5
        protected = self.protected if name in ("self_attention", "encoder_attention") else 0
        return AttentionVotes(
            query, key, scale, candidates="query" if queries_stand else "key", layer=layer, protected=protected
        )

    def images(self, *rows: int) -> Observation:
        """Only these images of the batch."""
        return self.changed(lambda tensor: tensor[list(rows)])

    def to(self, dtype: torch.dtype) -> Observation:
        """The same numbers in another floating type."""
        return self.changed(lambda tensor: tensor.to(dtype))

    def clone(self) -> Observation:
        """A copy that shares no memory."""
        return self.changed(lambda tensor: tensor.clone())

    def permuted(self, order: Tensor) -> Observation:
        """The same model with its target tokens in another order."""

        with_protected = torch.cat([torch.arange(self.protected), order + self.protected])

        def reordered(name: str, part: int, tensor: Tensor) -> Tensor:
            sides = {"self_attention": (True, True), "encoder_attention": (self.target == "image",) * 2}
            cross = (self.target == "query", self.target == "image")
            if not sides.get(name, cross)[part]:
                return tensor
            return tensor[:, :, with_protected if name in sides else order]

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

    def changed(self, change: Callable[[Tensor], Tensor]) -> Observation:
        """The same model with `change` done to every tensor."""
        moved = {
            name: tuple((change(query), change(key)) for query, key in layers)
            for name, layers in self.attention.items()
        }
        return replace(self, tokens=change(self.tokens), attention=moved, text=change(self.text))

    def __str__(self) -> str:
        batch, tokens, _ = self.tokens.shape
        query, key = self.attention["cross_attention"][0]
        others = (key if self.target == "query" else query).shape[2]
        dtype = str(self.tokens.dtype).removeprefix("torch.")
        cls = f" and {self.protected} protected one(s)" if self.protected else ""
        return f"{batch} image(s) of {tokens} target token(s){cls} and {others} other token(s), {dtype}"


def observations(layers: int = 4, target: Target = "query") -> Iterator[Observation]:
    """Observations to check a scorer on, the smallest first; always the same ones.

    They hold a single token, a single image, exact ties (whole numbers, and tokens that occur twice) and ordinary
    numbers; attention logits spread by about 2, because nearly uniform attention decides by rounding alone. Where the
    target is "image", some have a [CLS] in front of the image tokens and some have none.

    Args:
        layers: how many layers each attention signal has.
        target: what the target tokens are.
    """
    yield observation(1, 1, 1, layers, target, whole=True)
    yield observation(1, 2, 1, layers, target, whole=True)
    yield observation(2, 1, 2, layers, target)
    yield observation(2, 3, 2, layers, target, whole=True)
    yield observation(2, 4, 3, layers, target, protected=1)
    yield observation(3, 6, 5, layers, target, twins=True)
    yield observation(3, 32, 17, layers, target, protected=1)


def large_observation(layers: int = 4, target: Target = "query") -> Observation:
    """Numbers that half precision can hold but not square or add up: their sums pass 65,504."""
    made = observation(2, 6, 5, layers, target)
    return replace(made, tokens=made.tokens.clamp(-3, 3) * 300)


def observation(
    batch: int,
    tokens: int,
    others: int,
    layers: int = 4,
    target: Target = "query",
    *,
    whole: bool = False,
    twins: bool = False,
    protected: int = 0,
) -> Observation:
    """One observation; always the same one for the same numbers.

    Args:
        batch: how many images.
        tokens: how many target tokens each has.
        others: how many tokens of the other kind.
        layers: how many layers each attention signal has.
        target: what the target tokens are.
        whole: whether all numbers are whole, so that there are ties.
        twins: whether every token occurs twice.
        protected: how many tokens in front of image tokens are no candidates.
    """
    generator = torch.Generator().manual_seed(1000 * batch + 10 * tokens + others)

    def draw(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator) * 1.5
        return drawn.round() if whole else drawn

    def layer_of(queries: int, keys: int) -> tuple[Tensor, Tensor]:
        return draw(batch, 2, queries, 8), draw(batch, 2, keys, 8)

    cross = (tokens, others) if target == "query" else (others, tokens)
    protected = protected if target == "image" else 0
    own, encoder = tokens + protected, (tokens + protected if target == "image" else others)
    made = Observation(
        target,
        draw(batch, tokens, 16),
        {
            "cross_attention": tuple(layer_of(*cross) for _ in range(layers)),
            "self_attention": tuple(layer_of(own, own) for _ in range(layers)),
            "encoder_attention": tuple(layer_of(encoder, encoder) for _ in range(layers)),
        },
        draw(batch, 3, 16),
        protected,
    )
    if not twins:
        return made
    return made.permuted(torch.arange(tokens) // 2)  # every token occurs twice
