"""Votes about tokens that are each made of several tokens, or of one that stands elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.functional import exact_sum
from tokprune.kernels import Backend
from tokprune.votes import Votes


class PooledVotes(Votes):
    """Votes for merged tokens: what is cast for the tokens that one is made of, added up. Nothing is computed early.

    An encoder may see an image in several tiles, each a row of its batch. Voters at the same place of every tile then
    cast one ballot together, each about the tokens of its own tile, so there are as many voters as in one tile and
    [CLS] is the first of them.

    Args:
        of: votes `[row voter token]` for the encoder's tokens.
        places: int `[image token merged]`: which of the encoder's tokens, counted through all rows, each token is made
            of; -1 where it is made of fewer. A token made of none gets no vote.
        weights: how much each voter counts `[image voter]`; None: what it counts in `of`, in the last tile.

    Raises:
        InvalidValueError: `places` has another shape, or names tokens that there are not.

    Example:
        >>> import torch
        >>> votes = Votes(torch.tensor([[[0.1, 0.2, 0.3, 0.4]]]))
        >>> PooledVotes(votes, torch.tensor([[[0, 3], [1, 2], [-1, -1]]])).values
        tensor([[[0.5000, 0.5000, 0.0000]]])
    """

    def __init__(self, of: Votes, places: Tensor, weights: Tensor | None = None) -> None:
        if places.dim() != 3 or places.is_floating_point():
            raise InvalidValueError(f"PooledVotes: places must be int [image token merged], got {tuple(places.shape)}")
        rows, voters, tokens = of.shape
        if (
            places.device.type == "cpu"
            and places.numel()
            and not -1 <= int(places.min()) <= int(places.max()) < (rows * tokens)
        ):
            raise InvalidValueError(f"PooledVotes: places must be -1 to {rows * tokens - 1}")
        self.of, self.places = of, places
        if weights is None and of.weights is not None:
            weights = of.weights[places.flatten(1).amax(dim=1).to(of.weights.device).clamp(min=0) // tokens]
        self._set_shape((places.shape[0], voters, places.shape[1]), weights, of.layer, of.heads)

    @property
    def protected(self) -> int:
        """How many tokens beside the candidates always stay."""
        return self.of.protected

    @property
    def values(self) -> Tensor:
        """The votes `[image voter token]`, computed anew at every read."""
        return self._pool(self.of.values.transpose(1, 2)).transpose(1, 2)

    def with_weights(self, weights: Tensor | None) -> PooledVotes:
        """The same votes with other voter weights: `[image voter]`, or `[image others]` to weigh every head alike."""
        return PooledVotes(self.of, self.places, self._spread(weights))

    def of_voters(self, start: int, stop: int) -> PooledVotes:
        """The same votes cast only by the others `start .. stop-1` of each head, with their weights."""
        self._check_voters(start, stop)
        return PooledVotes(self.of.of_voters(start, stop), self.places, self._weights_of(start, stop))

    def total(self, backend: Backend = "auto") -> Tensor:
        """Summed votes for each token `[image token]`; see `Votes.total`."""
        if self.weights is None:
            return self._pool(self.of.total(backend)[..., None])[..., 0]
        self._check_backend(backend)
        return exact_sum(self.values, self.weights)

    def _pool(self, values: Tensor) -> Tensor:
        """Add up `values` `[row token any]` by places: `[image token any]`."""
        flat = values.flatten(0, 1)
        places = self.places.to(flat.device)
        found = flat[places.clamp(min=0)].masked_fill((places < 0)[..., None], 0)
        pooled: Tensor = found.sum(dim=2)
        return pooled


def padded_places(places: list[Tensor]) -> Tensor:
    """`[image token merged]` from the places `[token merged]` of each image, all with equally many tokens.

    Example:
        >>> padded_places([torch.tensor([[0], [1]]), torch.tensor([[2, 3], [4, 5]])]).tolist()
        [[[0, -1], [1, -1]], [[2, 3], [4, 5]]]
    """
    merged = max(each.shape[1] for each in places)
    return torch.stack([torch.nn.functional.pad(each, (0, merged - each.shape[1]), value=-1) for each in places])


def mean_of_places(states: Tensor, places: Tensor) -> Tensor:
    """Means `[image token dim]` of the vectors `states` `[row token dim]` at `places` `[image token merged]`; -1: none.

    Example:
        >>> mean_of_places(torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[0, 1], [1, -1], [-1, -1]]])).tolist()
        [[[2.0], [3.0], [0.0]]]
    """
    flat, places = states.flatten(0, 1), places.to(states.device)
    real = (places >= 0)[..., None]
    total = flat[places.clamp(min=0)].masked_fill(~real, 0).sum(dim=2)
    mean: Tensor = total / real.sum(dim=2).clamp(min=1)
    return mean
