"""Stage 1: the language model learns to answer from soft tokens that describe the objects of a scene."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tokprune.zoo.recipe.packing import Asked, answer_loss
from tokprune.zoo.recipe.pool import PATCH, Pool
from tokprune.zoo.scenes import COLOURS, IMAGE_SIZE, MAX_OBJECTS, SHAPES, SIZES

FILLERS = 8


class ObjectTokens(nn.Module):
    """One soft token per object, and fillers that say nothing; thrown away after the stage."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.colour, self.shape, self.size = (nn.Embedding(len(x), width) for x in (COLOURS, SHAPES, SIZES))
        self.column, self.row = (nn.Embedding(IMAGE_SIZE // PATCH, width) for _ in range(2))
        self.place = nn.Linear(2, width)
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.filler = nn.Embedding(FILLERS, width)

    def forward(self, objects: Tensor) -> Tensor:
        """`[scene object 5]` (colour, shape, size, x, y) to `[scene object width]`."""
        colour, shape, size = objects[..., :3].clamp(min=0).unbind(-1)
        column, row = (objects[..., 3:].clamp(min=0) // PATCH).unbind(-1)
        place = self.column(column) + self.row(row) + self.place(objects[..., 3:].float() / (IMAGE_SIZE / 4) - 2)
        tokens: Tensor = self.mix(self.colour(colour) + self.shape(shape) + self.size(size) + place)
        return tokens


class LanguageLearner(nn.Module):
    """What learns in this stage: the language model and the soft tokens that stand in for a Q-Former."""

    def __init__(self, language_model: Any, width: int) -> None:
        super().__init__()
        self.language_model = language_model
        self.tokens = ObjectTokens(width)


class LanguageLoss:
    """Loss of the answers behind a prefix of any length, its objects at random slots.

    A real language model takes a prefix of any length anywhere. So both vary here, and so do positions: either the
    prefix and the text follow each other without a gap, or the prefix keeps some of the places of a full one.
    """

    def __init__(
        self, model: LanguageLearner, pool: Pool, queries: int, eos: int, batch: int, packed: int, device: torch.device
    ) -> None:
        self.model, self.pool, self.queries, self.eos = model, pool, queries, eos
        self.batch, self.packed, self.device = batch, packed, device

    def __call__(self, generator: torch.Generator) -> tuple[Tensor, float]:
        """Loss and accuracy of one batch."""
        index, chosen = draw_questions(self.pool, self.batch, self.packed, generator)
        objects = self.pool.objects[index].long()
        length = int(torch.randint(min(4, self.queries), self.queries + 1, (1,), generator=generator))
        length = max(length, int((objects[..., 0] >= 0).sum(1).max()))
        prefix = self._prefix(objects, length, generator)
        positions, start = prefix_positions(self.batch, length, self.queries, generator)
        return answer_loss(
            self.model.language_model,
            prefix,
            positions.to(self.device),
            start.to(self.device),
            chosen.to(self.device),
            self.eos,
        )

    def _prefix(self, objects: Tensor, length: int, generator: torch.Generator) -> Tensor:
        slots = torch.rand(self.batch, max(length, MAX_OBJECTS), generator=generator)[:, :length].argsort(1)
        filler = torch.randint(FILLERS, (self.batch, length), generator=generator)
        tokens = self.model.tokens(objects.to(self.device))
        prefix = self.model.tokens.filler(filler.to(self.device))
        real = objects[..., 0] >= 0
        rows, columns = real.nonzero(as_tuple=True)
        filled: Tensor = prefix.index_put(
            (rows.to(self.device), slots[rows, columns].to(self.device)), tokens[real.to(self.device)]
        )
        return filled


def prefix_positions(scenes: int, length: int, queries: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Positions of the prefix `[scene token]` and of the text after it `[scene]`; half compact, half preserved."""
    compact = torch.arange(length).expand(scenes, -1)
    preserved = torch.rand(scenes, queries, generator=generator).argsort(1)[:, :length].sort(1).values
    is_compact = torch.rand(scenes, generator=generator) < 0.5
    positions = torch.where(is_compact.unsqueeze(1), compact, preserved)
    return positions, torch.where(is_compact, length, queries)


def draw_questions(pool: Pool, scenes: int, packed: int, generator: torch.Generator) -> tuple[Tensor, Asked]:
    """Random scenes and, for each, `packed` of its questions: indices of the scenes, and the questions."""
    index = torch.randint(len(pool), (scenes,), generator=generator)
    available = pool.length.shape[1]
    which = torch.rand(scenes, available, generator=generator).argsort(1)[:, :packed]
    rows = index.unsqueeze(1)
    return index, Asked(*(x[rows, which].long() for x in (pool.text, pool.length, pool.answer)))
