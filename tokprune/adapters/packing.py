"""Of which encoder tokens image tokens are made: a model's own packing, done to indices in place of vectors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def every_image_alike(block: Tensor, images: int) -> list[Tensor]:
    """Places `[token merged]` of each image, where each is a row of the encoder's batch and is merged like `block`.

    Example:
        >>> [each.tolist() for each in every_image_alike(torch.tensor([[0, 2], [1, 3]]), 2)]
        [[[0, 2], [1, 3]], [[4, 6], [5, 7]]]
    """
    return [block + image * block.numel() for image in range(images)]


def shuffled(shuffle: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """Places `[token merged]` in an image of `count` encoder tokens, where `shuffle` joins vectors end to end.

    Args:
        shuffle: `[1 count 1]` -> any shape whose last dimension has the vectors that were joined.
        count: number of encoder tokens.
    """
    joined = shuffle(torch.arange(count, dtype=torch.float64).view(1, count, 1))
    return joined.reshape(-1, joined.shape[-1]).long()


def blocks(rows: int, columns: int, merged: int) -> Tensor:
    """Places `[token merged * merged]` where squares of `merged` by `merged` tokens become one.

    Args:
        rows: how many rows of encoder tokens there are.
        columns: how many encoder tokens a row has.
        merged: how many of them a square has along a side.

    Example:
        >>> blocks(4, 4, 2).tolist()
        [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    """
    grid = torch.arange(rows * columns).view(rows // merged, merged, columns // merged, merged)
    return grid.permute(0, 2, 1, 3).reshape(-1, merged * merged)


def tiled(base: nn.Module, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> list[Tensor]:
    """Places `[token 1]` in images that are seen whole and again in tiles, freed of padding, with newlines.

    A newline is made of no encoder token. Where the tiles are scaled down, a token is made of its nearest one.

    Args:
        base: the model, with `pack_image_features`.
        arguments: of the call.
        options: more arguments of `pack_image_features`.
    """
    model: Any = base
    own: Any = sys.modules[type(base).__module__]
    config, vision = model.config, model.config.vision_config
    sizes, numbers = arguments["image_sizes"], arguments.get("batch_num_images")
    alone = [True] * len(sizes) if numbers is None else [n == 1 for n in numbers for _ in range(int(n))]
    side, begin, places = vision.image_size // vision.patch_size, 0, []
    for size, split in zip(sizes, alone, strict=True):
        tiles, across = 1, 1
        if split:
            asked = size, config.image_grid_pinpoints, vision.image_size
            tiles = own.image_size_to_num_patches(*asked)
            across = own.get_anyres_image_grid_shape(*asked)[1]
        where = _tile_coordinates(tiles, across, side)
        packed, _ = model.pack_image_features([where], [size], image_newline=torch.full((3,), -1.0), **options)
        places.append(_found(packed[0], across, side, begin))
        begin += tiles * side * side
    return places


def _tile_coordinates(tiles: int, across: int, side: int) -> Tensor:
    """`[tile token 3]`: 1 for the whole image and 0 for its tiles; row and column, through all tiles."""
    inner = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), dim=-1).view(1, -1, 2)
    order = (torch.arange(tiles) - 1).clamp(min=0)
    corner = torch.stack([order // across, order % across], dim=-1)[:, None] * side
    whole = (torch.arange(tiles) == 0)[:, None, None].expand(tiles, side * side, 1)
    return torch.cat([whole, inner + corner], dim=-1).float()


def _found(packed: Tensor, across: int, side: int, begin: int) -> Tensor:
    """Places `[token 1]` from coordinates `[token 3]` that were packed, counted from `begin`."""
    whole, row, column = packed.round().long().unbind(dim=-1)
    tile = torch.where(whole == 1, 0, 1 + row // side * across + column // side)
    found = begin + (tile * side + row % side) * side + column % side
    return found.masked_fill(whole < 0, -1)[:, None]


def packing_options(base: Any, arguments: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those arguments of the call by these names, or what the configuration says."""
    return {name: getattr(base.config, name) if arguments.get(name) is None else arguments[name] for name in names}
