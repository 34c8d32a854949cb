"""What the text of a prompt says about its image tokens, in the attention of one layer of a language model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tokprune.adapters.decoder.layout import Group
from tokprune.adapters.rows import Rows
from tokprune.adapters.tap import Seen
from tokprune.votes import AttentionVotes, Votes


@dataclass(frozen=True, eq=False)
class Looks:
    """Queries of the voters and keys of all tokens, in one layer, of each prompt once.

    Attributes:
        query: `[prompt head voter dim]`.
        key: `[prompt key_head token dim]`.
        allowed: bool `[prompt 1 voter token]`, who sees whom.
        bias: what is added to the logits `[prompt head voter token]`, or None.
        softcap: what the logits are capped at before that, or None.
        voters: which positions of the whole prompt vote.
        inverse: where each position of the whole prompt stands in this layer `[prompt sequence]`; None if all do.
        scale: factor on the dot products.
        layer: number of the layer.
    """

    query: Tensor
    key: Tensor
    allowed: Tensor
    bias: Tensor | None
    softcap: float | None
    voters: Rows
    inverse: Tensor | None
    scale: float
    layer: int

    @classmethod
    def of(cls, seen: Seen, copies: int, voters: Rows, inverse: Tensor | None, layer: int) -> Looks:
        """What one call of the layer's attention shows; `copies` rows beside each other are the same prompt."""
        index = voters.index if inverse is None else inverse.gather(1, voters.index)
        index = index.to(seen.query.device)
        query, key = seen.query[::copies].detach(), seen.key[::copies].detach()

        def of_voters(values: Tensor) -> Tensor:
            """Of `[row head query key]` the queries that vote, of each prompt once."""
            values = values.expand(seen.query.shape[0], -1, seen.query.shape[2], key.shape[2])[::copies]
            places = index.to(values.device)[:, None, :, None]
            return values.gather(2, places.expand(-1, values.shape[1], -1, values.shape[3]))

        allowed = seen.allowed()
        if allowed is None:
            allowed = torch.ones(len(index), 1, index.shape[1], key.shape[2], dtype=torch.bool, device=index.device)
        else:
            allowed = of_voters(allowed)
        if voters.valid is not None:
            allowed = allowed & voters.valid.to(allowed.device)[:, None, :, None]
        return cls(
            query.gather(2, index[:, None, :, None].expand(-1, query.shape[1], -1, query.shape[3])),
            key,
            allowed,
            None if seen.bias is None else of_voters(seen.bias.detach()),
            seen.softcap,
            voters,
            inverse,
            seen.scale,
            layer,
        )

    def votes(self, group: Group) -> Votes:
        """What the voters of each image's prompt say about its tokens; all other tokens are protected."""
        rows, length = group.rows.to(self.key.device), self.key.shape[2]
        places = group.places if self.inverse is None else self.inverse[group.rows[:, None], group.places]
        own = torch.zeros(len(rows), length, dtype=torch.bool, device=rows.device)
        own = own.scatter(1, places.to(rows.device), True)
        order = own.to(torch.uint8).sort(dim=1, stable=True).indices  # others first, candidates last
        key = self.key[rows].gather(2, order[:, None, :, None].expand(-1, self.key.shape[1], -1, self.key.shape[3]))
        heads = self.query.shape[1]

        def ordered(values: Tensor) -> Tensor:
            return values[rows].gather(3, order[:, None, None].expand(-1, *values.shape[1:3], -1))

        allowed = ordered(self.allowed)
        mask = allowed
        if self.bias is not None:
            mask = ordered(self.bias).float().masked_fill(~allowed, torch.finfo(torch.float32).min)
        weights = None if self.voters.valid is None else self.voters.valid[group.rows].float().repeat(1, heads)
        query, key = self.query[rows], key.repeat_interleave(heads // key.shape[1], dim=1)
        count = places.shape[1]
        if self.softcap is None:
            return AttentionVotes(
                query,
                key,
                self.scale,
                mask,
                candidates="key",
                weights=weights,
                layer=self.layer,
                protected=length - count,
            )
        logits = self.softcap * torch.tanh(query.float() @ key.float().transpose(2, 3) * self.scale / self.softcap)
        hidden = torch.finfo(torch.float32).min
        attention = (logits.masked_fill(~allowed, hidden) if self.bias is None else logits + mask).softmax(dim=-1)
        attention = attention * allowed  # a voter that sees no token does not vote
        return Votes(attention[..., length - count :].flatten(1, 2), weights, layer=self.layer, heads=heads)
