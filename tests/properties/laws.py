"""The voting rules by name, and small helpers that the property tests share."""

import torch

from tokprune import Votes, aggregators

from . import counting

RULES = {
    "borda": (aggregators.Borda(), counting.borda),
    "copeland": (aggregators.Copeland(), counting.copeland),
    "max": (aggregators.Maximum(), counting.maximum),
    "mean": (aggregators.Mean(), counting.mean),
    "plurality": (aggregators.Plurality(), counting.plurality),
    "sum": (aggregators.Total(), counting.total),
}
"""Name -> (aggregator, the same rule counted by hand)."""

POSITIONAL = ("borda", "plurality")
"""Rules that give a voter's points by the order of its ballot alone."""


def joined(first, second):
    """One electorate out of two."""
    return torch.cat([first, second], dim=1)


def reordered(votes, tokens=None, voters=None):
    """The same `Votes` with its tokens or its voters in another order."""
    values, weights = votes.values, votes.weights
    if tokens is not None:
        values = values[:, :, tokens]
    if voters is not None:
        values, weights = values[:, voters], None if weights is None else weights[:, voters]
    return Votes(values, weights)


def kept_set(mask):
    """Indices of the kept tokens of the first image."""
    return mask[0].nonzero().flatten().tolist()
