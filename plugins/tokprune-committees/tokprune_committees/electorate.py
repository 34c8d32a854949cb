"""All voters of all layers, with their ballots and weights, and sums over them that no order of voters can change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tokprune import InvalidValueError, Votes
from tokprune_committees.approval import EXACT_BITS, Approve, ballots, power_above
from tokprune_committees.pieces import pieces

TOLERANCE = 1e-9
"""Two tokens whose merits differ by a smaller share tie: 1/3 + 1/3 + 1/3 is as much as 1, whatever float64 says."""


@dataclass(frozen=True, eq=False)
class Electorate:
    """Who approves whom.

    Attributes:
        approvals: bool `[batch voter token]`, one byte each; the voters of all layers stand in a row.
        weights: float64 `[batch voter]`, how many voters each one is, over a power of two so that all are below 1.
        place: int64 `[batch token]`, each token's place when the scores are sorted downwards; the lower index comes
            first among equals. It breaks ties.
    """

    approvals: Tensor
    weights: Tensor
    place: Tensor

    def backing(self, amounts: Tensor) -> Tensor:
        """For each token, the sum of the amounts `[batch voter]` of those who approve it, `[batch token]`."""
        batch, voters, tokens = self.approvals.shape
        total = amounts.new_zeros(batch, tokens)
        for some in pieces(voters, batch * tokens, amounts.device):
            total += torch.bmm(amounts[:, None, some], self.approvals[:, some].to(amounts.dtype))[:, 0]
        return total

    def approvers(self, elected: Tensor) -> Tensor:
        """Who approves the elected token `[batch 1]`: bool `[batch voter]`."""
        where = elected[:, None, :].expand(-1, self.approvals.shape[1], 1)
        return self.approvals.gather(2, where)[:, :, 0]

    def approvals_of(self, voters: Tensor) -> Tensor:
        """Ballots of the voters with these numbers `[batch some]`: bool `[batch some token]`."""
        batch, count, tokens = self.approvals.shape
        rows = voters + count * torch.arange(batch, device=voters.device)[:, None]
        return self.approvals.flatten(0, 1).index_select(0, rows.flatten()).view(batch, -1, tokens)

    def best(self, merit: Tensor, kept: Tensor) -> Tensor:
        """The token with the highest merit that is not kept yet, int64 `[batch 1]`.

        Ties (see `TOLERANCE`) go to the higher score, then to the lower index.
        """
        merit = merit.masked_fill(kept, -torch.inf)
        top = merit.amax(dim=1, keepdim=True)
        tied = (merit >= top - TOLERANCE * top.abs()) & ~kept
        return self.place.masked_fill(~tied, self.place.shape[1]).argmin(dim=1, keepdim=True)


def assemble(where: str, scores: Tensor, votes: Sequence[Votes], approve: Approve) -> Electorate:
    """The electorate of a selector's call: every layer's voters, together.

    It stands on the device of the votes; on the CPU if that device has no float64 (MPS).

    Raises:
        InvalidValueError: no votes, or votes about other tokens than the scores.
    """
    if not votes:
        raise InvalidValueError(f"{where}: there are no votes; expected at least one layer's, got an empty list")
    for layer in votes:
        if (layer.shape[0], layer.shape[2]) != tuple(scores.shape):
            raise InvalidValueError(
                f"{where}: votes [batch voter token] of shape {layer.shape} are not about the tokens of the scores "
                f"[batch token] of shape {tuple(scores.shape)}; give the votes that the scores were made of"
            )
    device = torch.device("cpu") if scores.device.type == "mps" else scores.device
    approvals = torch.cat([ballots(layer.values.detach().to(device), approve) for layer in votes], dim=1)
    weights = torch.cat([_weights(layer, device) for layer in votes], dim=1)
    weights = exact(weights / power_above(weights.amax(dim=1, keepdim=True)), weights.shape[1])
    order = scores.detach().to(device).sort(dim=1, descending=True, stable=True).indices
    return Electorate(approvals, weights, order.argsort(dim=1))


def _weights(layer: Votes, device: torch.device) -> Tensor:
    if layer.weights is None:
        return torch.ones(layer.shape[:2], dtype=torch.float64, device=device)
    return layer.weights.detach().to(device=device, dtype=torch.float64).clamp(min=0)


def exact(amounts: Tensor, total: int) -> Tensor:
    """Amounts rounded so that all their sums are exact in float64, if no sum exceeds `total`.

    Sums that are exact come out the same in every order of the voters, in every batch and on every device.

    Example:
        >>> a, b, c = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
        >>> bool((a + b) + c == a + (b + c))
        False
        >>> a, b, c = exact(torch.stack([a, b, c]), 1000)
        >>> bool((a + b) + c == a + (b + c))
        True
    """
    unit = 2.0 ** (math.ceil(math.log2(total)) - EXACT_BITS)
    return (amounts / unit).round() * unit
