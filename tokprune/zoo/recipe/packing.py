"""Several questions behind one visual prefix: it is computed once, and each question sees only itself and it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

SHARED = 3
"""Tokens that every prompt begins with (BOS, "question", ":"): computed once per scene, like the prefix."""


class Asked(NamedTuple):
    """Some questions about each scene of a batch."""

    text: Tensor
    """Prompts as token ids, padded right `[scene question token]`."""
    length: Tensor
    """Tokens of each prompt `[scene question]`."""
    answer: Tensor
    """Token id of each answer `[scene question]`."""

    def to(self, device: torch.device) -> Asked:
        """The same on a device."""
        return Asked(*(tensor.to(device) for tensor in self))


class Packed(NamedTuple):
    """The questions of each scene in one row, without padding between them."""

    text: Tensor
    """Token ids `[scene token]`."""
    segment: Tensor
    """0 for what all questions share, then 1, 2, ... `[scene token]`; padding at the end is a segment of its own."""
    position: Tensor
    """Distance from the end of the prefix `[scene token]`."""
    last: Tensor
    """Where each question's last token is `[scene question]`."""


def pack(text: Tensor, length: Tensor, answer: Tensor | None = None) -> Packed:
    """Packs `[scene question token]` prompts of the given lengths, each followed by its answer if there is one."""
    scenes, count, _ = text.shape
    if answer is not None:
        text = F.pad(text, (0, 1)).scatter(2, length.unsqueeze(-1), answer.unsqueeze(-1))
    extra = 0 if answer is None else 1
    size = length - SHARED + extra
    place = torch.arange(SHARED, text.shape[2], device=text.device).expand(scenes, count, -1)
    segment = torch.arange(1, count + 1, device=text.device).view(1, -1, 1).expand_as(place)
    real = place < (SHARED + size).unsqueeze(-1)
    order = (~real).flatten(1).int().argsort(dim=1, stable=True)[:, : int(size.sum(1).max())]
    segment = torch.where(real, segment, count + 1)
    rows = [x.flatten(1).gather(1, order) for x in (text[..., SHARED:], segment, place)]
    shared = [
        text[:, 0, :SHARED],
        torch.zeros_like(text[:, 0, :SHARED]),
        place.new_tensor(range(SHARED)).expand(scenes, -1),
    ]
    ends = SHARED + size.cumsum(1) - 1 - extra
    text, segment, place = (torch.cat(pair, 1) for pair in zip(shared, rows, strict=True))
    return Packed(text, segment, place, ends)


def packed_mask(prefix: int, segment: Tensor) -> Tensor:
    """Who may look at whom `[scene 1 token token]`: causal, what is shared for everyone, other questions for no one."""
    segment = F.pad(segment, (prefix, 0))
    allowed = (segment.unsqueeze(2) == segment.unsqueeze(1)) | (segment == 0).unsqueeze(1)
    return allowed.tril().unsqueeze(1)


def answer_loss(
    language_model: Any,
    prefix: Tensor,
    prefix_positions: Tensor,
    text_start: Tensor,
    asked: Asked,
    eos: int | None = None,
) -> tuple[Tensor, float]:
    """Loss and accuracy of the answer word, and with `eos` given also the loss of stopping after it.

    `prefix` is `[scene token width]`, its positions `[scene token]`, `text_start` `[scene]` the position of every
    question's first token.
    """
    text, length, answer = asked
    packed = pack(text, length, None if eos is None else answer)
    words = language_model.get_input_embeddings()(packed.text)
    hidden = language_model.model.decoder(
        inputs_embeds=torch.cat([prefix, words], 1),
        attention_mask=packed_mask(prefix.shape[1], packed.segment),
        position_ids=torch.cat([prefix_positions, text_start.unsqueeze(1) + packed.position], 1),
        use_cache=False,
    ).last_hidden_state
    rows = torch.arange(len(text), device=text.device).unsqueeze(1)

    def logits_at(place: Tensor) -> Tensor:
        logits: Tensor = language_model.lm_head(hidden[rows, prefix.shape[1] + place]).flatten(0, 1)
        return logits

    logits, target = logits_at(packed.last), answer.flatten()
    loss = F.cross_entropy(logits, target)
    if eos is not None:
        loss = loss + 0.1 * F.cross_entropy(logits_at(packed.last + 1), torch.full_like(target, eos))
    return loss, float((logits.argmax(-1) == target).float().mean())
