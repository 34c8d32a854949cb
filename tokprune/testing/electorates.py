"""Made-up votes, from tiny to the size of a BLIP-2 layer, to try aggregators on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from tokprune.votes import Votes

Electorate = tuple[Votes, ...]
"""The votes of a few layers."""


def electorates() -> Iterator[Electorate]:
    """Electorates to check an aggregator on, the smallest first; always the same ones.

    All numbers are whole, so that sums are exact in any order: what then differs is a fault and not rounding.
    """
    for batch, voters, tokens, layers, weighted in (
        (1, 1, 1, 1, False),
        (1, 1, 2, 1, False),
        (2, 2, 3, 1, True),
        (2, 3, 4, 2, False),
        (3, 5, 6, 2, True),
        (2, 40, 32, 3, True),
    ):
        generator = torch.Generator().manual_seed(100 * voters + tokens)
        yield tuple(
            Votes(
                torch.randint(-4, 5, (batch, voters, tokens), generator=generator).float(),
                torch.randint(1, 9, (batch, voters), generator=generator).float() if weighted else None,
                layer=layer,
            )
            for layer in range(layers)
        )


def large_electorate(dtype: torch.dtype = torch.float32) -> Electorate:
    """The voters of one cross-attention layer of BLIP-2 (12 heads, 257 image tokens, 32 query tokens), of one opinion.

    The last token's Borda points are 95,604: more than float16 can hold.
    """
    ballots = torch.rand(1, 12 * 257, 32, generator=torch.Generator().manual_seed(0)).sort(dim=2).values
    return (Votes(ballots.to(dtype), layer=0, heads=12),)


def changed(
    electorate: Electorate, rows: list[int] | None = None, voters: Tensor | None = None, tokens: Tensor | None = None
) -> Electorate:
    """Only some rows, the voters in another order, or the tokens in another order."""

    def change(layer: Votes) -> Votes:
        values, weights = layer.values, layer.weights
        if rows is not None:
            values, weights = values[rows], None if weights is None else weights[rows]
        if voters is not None:
            values, weights = values[:, voters], None if weights is None else weights[:, voters]
        if tokens is not None:
            values = values[:, :, tokens]
        return Votes(values, weights, layer=layer.layer)

    return tuple(change(layer) for layer in electorate)


def described(electorate: Electorate) -> str:
    """An electorate for a message."""
    batch, voters, tokens = electorate[0].shape
    dtype = str(electorate[0].values.dtype).removeprefix("torch.")
    weights = "no weights" if electorate[0].weights is None else "weights"
    return f"{batch} image(s), {len(electorate)} layer(s), {voters} voter(s), {tokens} token(s), {weights}, {dtype}"
