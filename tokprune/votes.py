"""Votes: the ballots of one layer, materialised only when somebody reads them."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.functional import attention_probabilities
from tokprune.shapes import check_dims, check_same


class Votes:
    """What every voter of one layer says about every target token; higher means keep.

    Args:
        values: votes `[batch voter token]`. With several heads the voters are ordered head by head.
        weights: how much each voter counts `[batch voter]`; applied by the aggregator, after any ranking. None: all 1.
        layer: index of the layer the votes come from, or None.
        heads: number of attention heads among the voters (voter = head * others + other).

    Raises:
        InvalidValueError: shapes that do not fit together.

    Example:
        >>> import torch
        >>> votes = Votes(torch.tensor([[[0.1, 0.9], [0.7, 0.3]]]))
        >>> votes.shape
        (1, 2, 2)
    """

    def __init__(
        self, values: Tensor, weights: Tensor | None = None, *, layer: int | None = None, heads: int = 1
    ) -> None:
        check_dims("Votes", "values", values, "batch voter token")
        self._values = values
        self._set_shape(tuple(values.shape), weights, layer, heads)

    def _set_shape(self, shape: tuple[int, ...], weights: Tensor | None, layer: int | None, heads: int) -> None:
        if heads < 1 or shape[1] % heads:
            raise InvalidValueError(f"Votes: {shape[1]} voters do not split into {heads} heads")
        if weights is not None:
            check_same("Votes", "weights [batch voter]", shape[:2], tuple(weights.shape))
        self.shape: tuple[int, ...] = shape
        self.weights = weights
        self.layer = layer
        self.heads = heads

    @property
    def values(self) -> Tensor:
        """The votes `[batch voter token]`. Lazy votes compute them anew at every read, so no map outlives its use."""
        return self._values

    @property
    def by_head(self) -> Tensor:
        """The votes with the heads apart, `[batch head voter token]`."""
        batch, voters, tokens = self.shape
        return self.values.reshape(batch, self.heads, voters // self.heads, tokens)

    def with_weights(self, weights: Tensor | None) -> Votes:
        """The same votes with other voter weights: `[batch voter]`, or `[batch others]` to weigh every head alike."""
        return Votes(self._values, self._spread(weights), layer=self.layer, heads=self.heads)

    def _spread(self, weights: Tensor | None) -> Tensor | None:
        if weights is not None and self.heads > 1 and weights.shape[-1] * self.heads == self.shape[1]:
            return weights.repeat(1, self.heads)
        return weights

    def __repr__(self) -> str:
        weighted = "" if self.weights is None else ", weighted"
        return f"{type(self).__name__}(shape={self.shape}, layer={self.layer}, heads={self.heads}{weighted})"


class AttentionVotes(Votes):
    """Votes that are attention probabilities, kept as queries and keys until they are read.

    Args:
        query: `[batch head query dim]`.
        key: `[batch head key dim]`.
        scale: factor on the dot products.
        mask: bool (True = may attend) or additive float, broadcastable to `[batch head query key]`; None for none.
        candidates: which side is the target. `"query"`: the keys vote for the queries (CATP: image tokens rank query
            tokens); `"key"`: the queries vote for the keys (received attention).
        weights: voter weights `[batch voter]`, or None.
        layer: index of the layer.
    """

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        scale: float,
        mask: Tensor | None = None,
        *,
        candidates: Literal["query", "key"],
        weights: Tensor | None = None,
        layer: int | None = None,
    ) -> None:
        check_dims("AttentionVotes", "query", query, "batch head query dim")
        check_dims("AttentionVotes", "key", key, "batch head key dim")
        if query.shape[3] != key.shape[3] or len({query.shape[0], key.shape[0]} - {1}) > 1:
            raise InvalidValueError(
                "AttentionVotes: query and key must have the same dim, and the same batch or a batch of 1; got "
                f"{tuple(query.shape)} and {tuple(key.shape)}"
            )
        self.query, self.key, self.scale, self.mask, self.candidates = query, key, scale, mask, candidates
        tokens, others = (query, key) if candidates == "query" else (key, query)
        heads = query.shape[1]
        batch = max(query.shape[0], key.shape[0])
        self._set_shape((batch, heads * others.shape[2], tokens.shape[2]), weights, layer, heads)

    @property
    def attention(self) -> Tensor:
        """Probabilities `[batch head query key]` in float32, computed anew at every read."""
        return attention_probabilities(self.query, self.key, self.scale, self.mask)

    @property
    def values(self) -> Tensor:
        """The votes `[batch voter token]` in float32, computed anew at every read."""
        return self.by_head.flatten(1, 2)

    @property
    def by_head(self) -> Tensor:
        """The votes with the heads apart, `[batch head voter token]`."""
        attention = self.attention
        return attention.transpose(2, 3) if self.candidates == "query" else attention

    def with_weights(self, weights: Tensor | None) -> AttentionVotes:
        """The same votes with other voter weights: `[batch voter]`, or `[batch others]` to weigh every head alike."""
        return AttentionVotes(
            self.query,
            self.key,
            self.scale,
            self.mask,
            candidates=self.candidates,
            weights=self._spread(weights),
            layer=self.layer,
        )
