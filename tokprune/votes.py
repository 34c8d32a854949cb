"""Votes: the ballots of one layer, materialised only when somebody reads them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from tokprune.errors import BackendError, InvalidValueError
from tokprune.functional import attention_probabilities, borda_scores, exact_sum
from tokprune.kernels import Backend, attention_points, attention_total, check_backend
from tokprune.kernels.backends import note_backend
from tokprune.shapes import check_attention, check_dims, check_same


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
        if values.is_complex():
            raise InvalidValueError(f"Votes: values must be real numbers, got {values.dtype}")
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
    def protected(self) -> int:
        """How many tokens beside the candidates always stay ([CLS], registers): 0 for votes given as numbers."""
        return 0

    @property
    def given(self) -> Tensor | None:
        """The votes, where they were given as numbers and nothing has to be computed to look at them."""
        return self.__dict__.get("_values")

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

    def of_voters(self, start: int, stop: int) -> Votes:
        """The same votes cast only by the others `start .. stop-1` of each head, with their weights.

        Raises:
            InvalidValueError: there are no such voters.
        """
        self._check_voters(start, stop)
        values = self.by_head[:, :, start:stop].flatten(1, 2)
        return Votes(values, self._weights_of(start, stop), layer=self.layer, heads=self.heads)

    def points(self, backend: Backend = "auto") -> Tensor:
        """Borda points of each token `[batch token]`, float32, weighted by `weights`.

        Args:
            backend: who counts: "auto", "reference" or "triton"; see `tokprune.kernels.attention_points`.

        Raises:
            BackendError: "triton" was asked for and cannot be had here.
        """
        self._check_backend(backend)
        return borda_scores(self.values, self.weights)

    def total(self, backend: Backend = "auto") -> Tensor:
        """Votes for each token, weighted by `weights` and summed over the voters, `[batch token]`, float32.

        Args:
            backend: who counts: "auto", "reference" or "triton"; see `tokprune.kernels.attention_total`.

        Raises:
            BackendError: "triton" was asked for and cannot be had here.
        """
        self._check_backend(backend)
        return exact_sum(self.values, self.weights)

    def _check_backend(self, backend: Backend) -> None:
        if check_backend("Votes", backend) == "triton":
            raise BackendError(
                "Votes: backend 'triton' counts votes that are attention; these are given as numbers, and only "
                "'reference' counts those"
            )
        note_backend("reference")

    def _check_voters(self, start: int, stop: int) -> None:
        others = self.shape[1] // self.heads
        if not 0 <= start < stop <= others:
            raise InvalidValueError(
                f"Votes: each head has voters 0 to {others - 1}, so start and stop must be ascending and at most "
                f"{others}; got {start} and {stop}"
            )

    def _weights_of(self, start: int, stop: int) -> Tensor | None:
        if self.weights is None:
            return None
        return self.weights.reshape(len(self.weights), self.heads, -1)[:, :, start:stop].flatten(1)

    def _spread(self, weights: Tensor | None) -> Tensor | None:
        if weights is not None and self.heads > 1 and weights.shape[-1] * self.heads == self.shape[1]:
            return weights.repeat(1, self.heads)
        return weights

    def __repr__(self) -> str:
        weighted = "" if self.weights is None else ", weighted"
        return f"{type(self).__name__}(shape={self.shape}, layer={self.layer}, heads={self.heads}{weighted})"


class AttentionVotes(Votes):
    """Votes that are attention probabilities, kept as queries and keys until they are read.

    `points` and `total` never make the probabilities of all heads at once: see `tokprune.kernels`.

    Args:
        query: `[batch head query dim]`.
        key: `[batch head key dim]`.
        scale: factor on the dot products.
        mask: bool (True = may attend) or additive float, broadcastable to `[batch head query key]`; None for none.
        candidates: which side is the target. `"query"`: the keys vote for the queries (CATP: image tokens rank query
            tokens); `"key"`: the queries vote for the keys (received attention).
        weights: voter weights `[batch voter]`, or None.
        layer: index of the layer.
        protected: how many tokens at the start of the candidate side are no candidates (CLS). They take part in the
            softmax, and vote where they are on the voters' side too; `shape` and `values` leave them out.
        voters: `(start, stop)` if only the others `start .. stop-1` of each head vote; None for all of them.
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
        protected: int = 0,
        voters: tuple[int, int] | None = None,
    ) -> None:
        check_attention("AttentionVotes", query, key)
        self.query, self.key, self.scale, self.mask, self.candidates = query, key, scale, mask, candidates
        self._protected = protected
        tokens, others = (query, key) if candidates == "query" else (key, query)
        if not 0 <= protected < tokens.shape[2]:
            raise InvalidValueError(
                f"AttentionVotes: protected must leave at least one of {tokens.shape[2]} tokens, got {protected}"
            )
        heads, batch = query.shape[1], max(query.shape[0], key.shape[0])
        self.shape, self.heads = (batch, heads * others.shape[2], tokens.shape[2] - protected), heads
        self.voters = (0, others.shape[2])
        if voters is not None:
            self._check_voters(*voters)
            self.voters = voters
        count = self.voters[1] - self.voters[0]
        self._set_shape((batch, heads * count, tokens.shape[2] - protected), weights, layer, heads)

    @property
    def protected(self) -> int:
        """How many tokens at the start of the candidate side are no candidates ([CLS], registers)."""
        return self._protected

    @property
    def attention(self) -> Tensor:
        """Probabilities `[batch head query key]` in float32 of all tokens, computed anew at every read."""
        return attention_probabilities(self.query, self.key, self.scale, self.mask)

    @property
    def values(self) -> Tensor:
        """The votes `[batch voter token]` in float32, computed anew at every read."""
        return self.by_head.flatten(1, 2)

    @property
    def by_head(self) -> Tensor:
        """The votes with the heads apart, `[batch head voter token]`."""
        attention = self.attention
        votes = attention.transpose(2, 3) if self.candidates == "query" else attention
        return votes[:, :, slice(*self.voters), self.protected :]

    def with_weights(self, weights: Tensor | None) -> AttentionVotes:
        """The same votes with other voter weights: `[batch voter]`, or `[batch others]` to weigh every head alike."""
        return self._changed(weights=self._spread(weights))

    def of_voters(self, start: int, stop: int) -> AttentionVotes:
        """The same votes cast only by the others `start .. stop-1` of each head: CLS alone is `of_voters(0, 1)`.

        Raises:
            InvalidValueError: there are no such voters.
        """
        self._check_voters(start, stop)
        first = self.voters[0]
        return self._changed(weights=self._weights_of(start, stop), voters=(first + start, first + stop))

    def points(self, backend: Backend = "auto") -> Tensor:
        """Borda points of each token `[batch token]`, straight from queries and keys; see `Votes.points`."""
        return attention_points(**self._for_kernels(), backend=backend)

    def total(self, backend: Backend = "auto") -> Tensor:
        """Summed votes for each token `[batch token]`, straight from queries and keys; see `Votes.total`."""
        return attention_total(**self._for_kernels(), backend=backend)

    def _changed(self, **changes: Any) -> AttentionVotes:
        same = {name: getattr(self, name) for name in ("candidates", "weights", "layer", "protected", "voters")}
        return AttentionVotes(self.query, self.key, self.scale, self.mask, **(same | changes))

    def _for_kernels(self) -> dict[str, Any]:
        """Arguments of the kernels, which know no range of voters: who does not vote is cut off, or has no weight."""
        query, mask, weights = self.query, self.mask, self.weights
        start, stop = self.voters
        if self.candidates == "key":  # a row of attention does not need the other rows
            query = query[:, :, start:stop]
            if mask is not None and mask.dim() > 1 and mask.shape[-2] > 1:
                mask = mask[..., start:stop, :]
        elif stop - start < self.key.shape[2]:  # but a column needs the sum over all columns
            batch, heads = self.shape[0], self.heads
            cast = self.key.new_ones(batch, heads * (stop - start), dtype=torch.float32) if weights is None else weights
            weights = cast.new_zeros(batch, heads, self.key.shape[2])
            weights[:, :, start:stop] = cast.reshape(batch, heads, -1)
            weights = weights.flatten(1)
        return {
            "query": query,
            "key": self.key,
            "scale": self.scale,
            "mask": mask,
            "candidates": self.candidates,
            "weights": weights,
            "protected": self.protected,
        }
