"""The torch backend."""

from __future__ import annotations

from torch import Tensor

from tokprune.functional import attention_probabilities, borda_scores, exact_sum
from tokprune.kernels.inputs import AttentionInput


class Reference:
    """Counts with torch."""

    def points(self, given: AttentionInput) -> Tensor:
        """Borda points `[batch token]`."""
        return borda_scores(*self._votes(given))

    def total(self, given: AttentionInput) -> Tensor:
        """Summed probabilities `[batch token]`."""
        return exact_sum(*self._votes(given))

    def _votes(self, given: AttentionInput) -> tuple[Tensor, Tensor | None]:
        attention = attention_probabilities(given.query, given.key, given.scale, given.mask)
        votes = attention.transpose(2, 3) if given.candidates == "query" else attention
        weights = None if given.weights is None else given.weights.flatten(1)
        return votes[..., given.protected :].flatten(1, 2), weights
