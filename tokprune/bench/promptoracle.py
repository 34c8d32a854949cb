"""The oracle of a model whose language model reads image tokens: handed which of them stay, it reads no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tokprune.bench.oracle import Gift

_NO_PICTURE = frozenset({"input_ids", "attention_mask", "mm_token_type_ids"})
"""Inputs that are about the prompt; all others go to the image encoder."""


@torch.no_grad()
def image_tokens(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """The image tokens of a call as the language model reads them, image after image `[token dim]`."""
    pictures = {name: value for name, value in inputs.items() if name not in _NO_PICTURE}
    images = model.model.get_image_features(**pictures, return_dict=True).pooler_output
    return torch.cat(list(images))


@torch.no_grad()
def prompt_oracle_generate(model: Any, inputs: Mapping[str, Tensor], gift: Gift, **options: Any) -> Tensor:
    """`model.generate` on embeddings put together by hand, without any hook, of the rows that stay.

    Returns:
        New token ids of each sample, without the prompt.
    """
    ids, mask, rows = inputs["input_ids"], inputs["attention_mask"], gift.rows
    tokens = image_tokens(model, inputs)
    placeholder = ids == model.config.image_token_id
    if rows is not None:
        stays = torch.zeros_like(placeholder).scatter(1, rows, True)
        tokens = tokens[stays[placeholder]] if gift.prefix is None else gift.prefix.flatten(0, 1)
        ids, placeholder = ids.gather(1, rows), placeholder.gather(1, rows)
    embeddings: Tensor = model.get_input_embeddings()(ids)
    call = {
        "inputs_embeds": embeddings.masked_scatter(placeholder.unsqueeze(-1), tokens.to(embeddings.dtype)),
        "attention_mask": mask if rows is None else mask.gather(1, rows),
    }
    if "image_grid_thw" in inputs:
        call["position_ids"] = _grid_positions(model, inputs, rows)
    elif rows is not None and gift.positions == "preserve":
        call["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0).gather(1, rows)
    generated: Tensor = model.generate(**call, **options)
    return generated


def _grid_positions(model: Any, inputs: Mapping[str, Tensor], rows: Tensor | None) -> Tensor:
    """Where the rows that stay stand in the prompt, and in their image, as in the whole prompt `[4 sample row]`."""
    mask = inputs["attention_mask"]
    grid, _ = model.model.get_rope_index(
        inputs["input_ids"],
        mm_token_type_ids=inputs["mm_token_type_ids"],
        image_grid_thw=inputs["image_grid_thw"],
        attention_mask=mask,
    )
    if rows is not None:
        grid, mask = grid.gather(2, rows.expand(len(grid), -1, -1)), mask.gather(1, rows)
    return torch.cat([(mask.cumsum(1) - 1).clamp(min=0)[None], grid])
