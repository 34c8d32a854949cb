"""The votes that text tokens cast in a decoder's cross-attention, about the tokens of one image at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tokprune.votes import AttentionVotes


@dataclass(frozen=True, eq=False)
class Readers:
    """Who reads what in a cross-attention.

    Attributes:
        images: how many images the rows have, each; they stand one behind the other among the keys.
        real: which text tokens are no padding, bool `[row text]`; None if all are.
        sees: which text tokens see any image, bool `[row text]`; None if all do.
        mask: the mask of the cross-attention, bool (True = may attend) or additive, `[row 1 text token]`.
    """

    images: int = 1
    real: Tensor | None = None
    sees: Tensor | None = None
    mask: Tensor | None = None

    def votes(self, votes: AttentionVotes, protected: int) -> AttentionVotes:
        """`votes` of whole rows as votes about images `[image voter token]`.

        Text that is padding, or sees nothing of the image, neither attends nor votes; real text goes to the end, so
        that the last voter is the last token of the prompt. The other images' tokens are moved in front, where
        protected tokens stand: they take their part of the attention, and attention knows no order.
        """
        query, key = votes.query, votes.key
        rows, text = query.shape[0], query.shape[2]
        speaks = torch.ones(rows, text, dtype=torch.bool, device=query.device)
        for some in (self.real, self.sees):
            speaks = speaks if some is None else speaks & some.to(query.device)
        allowed = speaks[:, None, :, None].expand(-1, -1, -1, key.shape[2])
        if self.mask is not None:
            allowed = allowed & allows(self.mask).to(query.device)
        if self.real is not None:
            order = self.real.to(query.device).long().argsort(dim=1, stable=True)
            query = query.gather(2, order[:, None, :, None].expand_as(query))
            allowed = allowed.gather(2, order[:, None, :, None].expand_as(allowed))
        if self.images > 1:
            query, key, allowed, protected = self._apart(query, key, allowed, protected)
        voting = allowed[:, 0, :, protected:].any(dim=-1)
        return AttentionVotes(
            query,
            key,
            votes.scale,
            allowed,
            candidates="key",
            weights=voting.float().repeat(1, votes.heads),
            layer=votes.layer,
            protected=protected,
        )

    def _apart(self, query: Tensor, key: Tensor, allowed: Tensor, protected: int) -> tuple[Tensor, Tensor, Tensor, int]:
        """The same with a row for each image, whose own tokens stand at the end."""
        size = key.shape[2] // self.images
        order = own_last(self.images, size, key.shape[2], key.device).repeat(key.shape[0], 1)
        query, key, allowed = (each.repeat_interleave(self.images, dim=0) for each in (query, key, allowed))
        key = key.gather(2, order[:, None, :, None].expand_as(key))
        allowed = allowed.gather(3, order[:, None, None].expand_as(allowed))
        return query, key, allowed, order.shape[1] - size + protected


def own_last(parts: int, own: int, total: int, device: torch.device) -> Tensor:
    """For each of `parts` equal parts of `total` tokens, an order `[part token]` with its first `own` at the end."""
    places = torch.arange(total, device=device)
    begins = [part * (total // parts) for part in range(parts)]
    return torch.stack([torch.cat([places[:b], places[b + own :], places[b : b + own]]) for b in begins])


def allows(mask: Tensor) -> Tensor:
    """A mask `[row 1 text token]` or `[row token]` as bool `[row 1 text token]`, True = may attend."""
    if mask.dim() == 2:
        mask = mask[:, None, None]
    return mask > torch.finfo(mask.dtype).min / 2 if mask.is_floating_point() else mask.bool()
