"""The oracle of Mllama: the same model with an encoder that hands over fewer image tokens of each tile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.bench.oracle import new_tokens, take_rows
from tokprune.errors import InvalidValueError


class Handing(nn.Module):
    """Stands in for an image encoder, and hands over some of its tokens.

    Args:
        encoder: Mllama's.
        rows: Which tokens of each tile, [CLS] included, int `[tile row]`. `generate` repeats samples for beams, and
            their rows with them.
    """

    def __init__(self, encoder: nn.Module, rows: Tensor) -> None:
        super().__init__()
        self.encoder, self.rows = encoder, rows
        self.num_patches = rows.shape[1]
        """How wide the mask of a tile is."""

    def forward(self, **inputs: Any) -> Any:
        """The encoder's output with fewer tokens `[sample image tile row dim]`."""
        output = self.encoder(**inputs)
        hidden = output.last_hidden_state
        samples, images, tiles = hidden.shape[:3]
        rows = self.rows.view(-1, images * tiles, self.num_patches)
        rows = rows.repeat_interleave(samples // len(rows), dim=0).flatten(0, 1)
        output.last_hidden_state = take_rows(hidden.flatten(0, 2), rows).view(
            samples, images, tiles, self.num_patches, -1
        )
        return output


@contextmanager
def _handing(model: Any, rows: Tensor) -> Iterator[None]:
    encoder = model.model.vision_model
    model.model.vision_model = Handing(encoder, rows)
    try:
        yield
    finally:
        model.model.vision_model = encoder


def tile_rows(kept: Tensor) -> Tensor:
    """Which rows of each tile stay, int `[tile row]`: [CLS] and the kept tokens.

    Args:
        kept: Bool `[tile token]`.

    Raises:
        InvalidValueError: Tiles keep different numbers.
    """
    counts = kept.sum(1)
    if int(counts.min()) != int(counts.max()):
        raise InvalidValueError("oracle: expected the same number of kept tokens in every tile; use selector 'top-k'")
    return torch.cat([kept.new_ones(len(kept), 1), kept], dim=1).nonzero()[:, 1].view(len(kept), -1)


@torch.no_grad()
def tile_oracle_generate(model: Any, inputs: Mapping[str, Tensor], rows: Tensor, **options: Any) -> Tensor:
    """`model.generate` with an encoder that hands over only these rows of each tile.

    Returns:
        New token ids of each sample, without the prompt.
    """
    with _handing(model, rows):
        return new_tokens(model, inputs, model.generate(**inputs, **options))
