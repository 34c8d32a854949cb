"""What both backends are given: one attention layer, checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.shapes import check_attention, check_same

EVERY = slice(None)


@dataclass(frozen=True, eq=False)
class AttentionInput:
    """One attention layer and who votes for whom.

    Attributes:
        query: `[batch head query dim]`, detached; the batch may be 1.
        key: `[batch head key dim]`, detached; the batch may be 1, the heads may be fewer.
        scale: factor on the dot products.
        mask: `[batch head query key]` with any of them 1, bool or additive, or None.
        candidates: which side is the target.
        weights: `[batch head voter]`, or None.
        protected: number of keys at the start that are no candidates; protected queries are cut off, as a row of
            attention does not need the other rows.
    """

    query: Tensor
    key: Tensor
    scale: float
    mask: Tensor | None
    candidates: Literal["query", "key"]
    weights: Tensor | None
    protected: int

    @classmethod
    def checked(
        cls,
        where: str,
        query: Tensor,
        key: Tensor,
        scale: float,
        mask: Tensor | None,
        candidates: Literal["query", "key"],
        weights: Tensor | None,
        protected: int,
    ) -> Self:
        """The input, or `InvalidValueError`."""
        check_attention(where, query, key)
        for side, tensor in (("queries", query), ("keys", key)):
            if tensor.numel() == 0:
                raise InvalidValueError(f"{where}: there are no {side}, got shape {tuple(tensor.shape)}")
        if query.shape[1] % key.shape[1]:
            raise InvalidValueError(
                f"{where}: {query.shape[1]} query heads cannot share {key.shape[1]} key heads evenly"
            )
        if candidates not in ("query", "key"):
            raise InvalidValueError(f"{where}: candidates must be 'query' or 'key', got {candidates!r}")
        given = cls(query.detach(), key.detach(), float(scale), None, candidates, None, protected)
        if not 0 <= protected < given.tokens:
            raise InvalidValueError(
                f"{where}: protected must leave at least one of the {given.tokens} tokens, got {protected}"
            )
        if mask is not None:
            mask = _mask(where, mask.detach(), (given.batch, given.heads, query.shape[2], key.shape[2]))
        if weights is not None:
            voters = given.heads * given.others
            check_same(where, "weights [batch voter]", (given.batch, voters), tuple(weights.shape))
            weights = weights.detach().reshape(given.batch, given.heads, given.others)
        given = cls(given.query, given.key, given.scale, mask, candidates, weights, protected)
        if protected and candidates == "query":
            query, _, _, mask = given.rows(slice(protected, None))
            return replace(given, query=query, mask=mask, protected=0)
        return given

    @property
    def batch(self) -> int:
        """Number of images."""
        return max(self.query.shape[0], self.key.shape[0])

    @property
    def heads(self) -> int:
        """Number of heads that vote: those of the queries."""
        return self.query.shape[1]

    @property
    def tokens(self) -> int:
        """Tokens of the candidate side, protected ones included."""
        return (self.query if self.candidates == "query" else self.key).shape[2]

    @property
    def others(self) -> int:
        """Voters of each head."""
        return (self.key if self.candidates == "query" else self.query).shape[2]

    @property
    def shared(self) -> int:
        """Number of query heads that share a key head."""
        return self.query.shape[1] // self.key.shape[1]

    def part(self, images: slice, heads: slice = EVERY) -> Self:
        """The same for some images and, of those, some heads: all, one, or whole groups that share their keys."""
        key_heads = EVERY if heads == EVERY else slice(heads.start // self.shared, -(-heads.stop // self.shared))
        return replace(
            self,
            query=self.query[_along(self.query, 0, images), heads],
            key=self.key[_along(self.key, 0, images), key_heads],
            mask=None if self.mask is None else self.mask[_along(self.mask, 0, images), _along(self.mask, 1, heads)],
            weights=None if self.weights is None else self.weights[images, heads],
        )

    def rows(self, queries: slice) -> tuple[Tensor, Tensor, float, Tensor | None]:
        """What `attention_probabilities` is called with for some of the queries."""
        mask = None if self.mask is None else self.mask[:, :, _along(self.mask, 2, queries)]
        return self.query[:, :, queries], self.key, self.scale, mask

    def columns(self, keys: slice) -> tuple[Tensor, Tensor, float, Tensor | None]:
        """The same for some of the keys."""
        mask = None if self.mask is None else self.mask[..., _along(self.mask, 3, keys)]
        return self.query, self.key[:, :, keys], self.scale, mask


def _along(tensor: Tensor, dim: int, chosen: slice) -> slice:
    """`chosen`, or everything where the dimension is broadcast."""
    return chosen if tensor.shape[dim] > 1 else EVERY


def _mask(where: str, mask: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    if mask.dim() > 4 or any(have not in (1, want) for have, want in zip(mask.shape[::-1], shape[::-1], strict=False)):
        raise InvalidValueError(
            f"{where}: mask must be broadcastable to [batch head query key] = {shape}, got {tuple(mask.shape)}"
        )
    return mask.reshape(*[1] * (4 - mask.dim()), *mask.shape)
