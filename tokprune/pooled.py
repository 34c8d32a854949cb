"""Votes for tokens that are made of several others: what these receive, they receive."""

from __future__ import annotations

from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.functional import borda_scores
from tokprune.kernels import Backend
from tokprune.votes import AttentionVotes, Votes


class PooledVotes(Votes):
    """Attention that every `merged` candidates, one behind the other, receive together.

    Args:
        votes: the votes for the single tokens.
        merged: how many of them make one target token.

    Raises:
        InvalidValueError: the tokens do not go into groups of so many.

    Example:
        >>> single = AttentionVotes(torch.ones(1, 1, 4, 2), torch.ones(1, 1, 4, 2), 1.0, candidates="key")
        >>> PooledVotes(single, 2).values[0, 0]
        tensor([0.5000, 0.5000])
    """

    def __init__(self, votes: AttentionVotes, merged: int) -> None:
        batch, voters, tokens = votes.shape
        if tokens % merged:
            raise InvalidValueError(f"PooledVotes: {tokens} tokens do not go into groups of {merged}")
        self.votes, self.merged = votes, merged
        self._set_shape((batch, voters, tokens // merged), votes.weights, votes.layer, votes.heads)

    @property
    def protected(self) -> int:
        """How many tokens beside the candidates always stay."""
        return self.votes.protected

    @property
    def values(self) -> Tensor:
        """The votes `[batch voter token]` in float32, computed anew at every read."""
        return self._pool(self.votes.values)

    def with_weights(self, weights: Tensor | None) -> PooledVotes:
        """The same votes with other voter weights: `[batch voter]`, or `[batch others]` to weigh every head alike."""
        return PooledVotes(self.votes.with_weights(weights), self.merged)

    def of_voters(self, start: int, stop: int) -> PooledVotes:
        """The same votes cast only by the others `start .. stop-1` of each head."""
        return PooledVotes(self.votes.of_voters(start, stop), self.merged)

    def points(self, backend: Backend = "auto") -> Tensor:
        """Borda points of each token `[batch token]`: ranked after the attention is pooled."""
        self._check_backend(backend)
        return borda_scores(self.values, self.weights)

    def total(self, backend: Backend = "auto") -> Tensor:
        """Summed votes for each token `[batch token]`, straight from queries and keys; see `Votes.total`."""
        return self._pool(self.votes.total(backend))

    def _pool(self, values: Tensor) -> Tensor:
        return values.unflatten(-1, (-1, self.merged)).sum(dim=-1)
