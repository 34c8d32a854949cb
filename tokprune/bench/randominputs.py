"""Random inputs: pictures of noise and a prompt of random words, for measuring what depends on shapes only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokprune.bench.parts import llava_tokens, parts_of
from tokprune.errors import InvalidValueError


def random_inputs(model: Any, batch_size: int, prompt_tokens: int = 8, seed: int = 0) -> dict[str, Tensor]:
    """What `generate` takes: one picture and one prompt per sample, without padding.

    Args:
        model: A BLIP-2, InstructBLIP, LLaVA, Qwen-VL or Mllama: its configuration tells image size and placeholder.
        batch_size: Samples.
        prompt_tokens: Words behind the placeholders, of each sample.
        seed: Another seed gives other pictures and words.

    Returns:
        `pixel_values` `[sample channel row column]` in the image encoder's dtype, `input_ids` and `attention_mask`
        `[sample token]`, and what else the family takes: for InstructBLIP the same prompt for its Q-Former, for
        Qwen-VL the grid of patches, for Mllama the tiles' shape. All on the model's device.

    Raises:
        InvalidValueError: A number below 1, or a configuration without the placeholder.
        AdapterError: A family that is not measured.
    """
    for name, number in (("batch size", batch_size), ("prompt tokens", prompt_tokens)):
        if number < 1:
            raise InvalidValueError(f"{name}: expected at least 1, got {number}")
    config, first, dtype = model.config, next(model.parameters()), next(parts_of(model).encoder.parameters()).dtype
    if getattr(config, "image_token_id", None) is None:
        raise InvalidValueError(
            f"random inputs: the configuration of this {type(model).__name__} does not say which placeholder the query "
            "tokens take in the prompt (image_token_index); old checkpoints do not; set it, or fetch a newer revision"
        )
    generator = torch.Generator().manual_seed(seed)  # of the host, so that every device gets the same
    pictures, places = _PICTURES.get(config.model_type, _picture)(config, batch_size, generator)
    words = _words(config.get_text_config(), config.image_token_id)
    prompt = words[torch.randint(len(words), (batch_size, prompt_tokens), generator=generator)]
    ids = torch.cat([torch.tensor(places).expand(batch_size, -1), prompt], dim=1)
    inputs = {"pixel_values": pictures.pop("pixel_values").to(dtype), "input_ids": ids} | pictures
    inputs["attention_mask"] = torch.ones_like(ids)
    if config.model_type == "instructblip":
        inputs["qformer_input_ids"] = prompt % config.qformer_config.vocab_size
        inputs["qformer_attention_mask"] = torch.ones_like(prompt)
    if "image_grid_thw" in inputs:
        inputs["mm_token_type_ids"] = (ids == config.image_token_id).long()
    if config.model_type == "mllama":
        inputs["cross_attention_mask"] = torch.ones(*ids.shape, 1, config.vision_config.max_num_tiles, dtype=torch.long)
    return {name: value.to(first.device) for name, value in inputs.items()}


def _picture(config: Any, batch_size: int, generator: torch.Generator) -> tuple[dict[str, Tensor], list[int]]:
    """Pictures of the encoder's size, and what stands for one of them in the prompt."""
    size = config.vision_config.image_size
    rows, columns = (size, size) if isinstance(size, int) else size
    count = getattr(config, "num_query_tokens", None) or llava_tokens(config)
    pixels = torch.randn(batch_size, 3, rows, columns, generator=generator)
    return {"pixel_values": pixels}, [config.image_token_id] * count


def _patches(config: Any, batch_size: int, generator: torch.Generator) -> tuple[dict[str, Tensor], list[int]]:
    """Pictures as Qwen-VL's processor leaves them: one row for each patch, twice because a video has two frames."""
    vision, (rows, columns) = config.vision_config, QWEN_PATCHES
    values = 3 * vision.temporal_patch_size * vision.patch_size**2
    count = rows * columns // vision.spatial_merge_size**2
    pictures = {
        "pixel_values": torch.randn(batch_size * rows * columns, values, generator=generator),
        "image_grid_thw": torch.tensor([[1, rows, columns]]).expand(batch_size, -1).contiguous(),
    }
    return pictures, [config.vision_start_token_id, *[config.image_token_id] * count, config.vision_end_token_id]


def _tiles(config: Any, batch_size: int, generator: torch.Generator) -> tuple[dict[str, Tensor], list[int]]:
    """Pictures as Mllama's processor leaves them, in all tiles there can be, and one placeholder for them."""
    vision = config.vision_config
    tiles = (batch_size, 1, vision.max_num_tiles, 3, vision.image_size, vision.image_size)
    shapes = [tuple(shape) for shape in vision.supported_aspect_ratios]
    shape = shapes.index(max(shapes, key=lambda sides: (sides[0] * sides[1], -abs(sides[0] - sides[1])))) + 1
    pictures = {
        "pixel_values": torch.randn(tiles, generator=generator),
        "aspect_ratio_ids": torch.full((batch_size, 1), shape),
        "aspect_ratio_mask": torch.ones(batch_size, 1, vision.max_num_tiles, dtype=torch.long),
    }
    return pictures, [config.image_token_id]


_PICTURES = {"qwen2_vl": _patches, "qwen2_5_vl": _patches, "qwen3_vl": _patches, "mllama": _tiles}

QWEN_PATCHES = (64, 80)
"""Rows and columns of patches: 896 by 1120 pixels, and 1280 image tokens of four patches each."""


def _words(text: Any, image_token: int) -> Tensor:
    """Ids of all words that mean nothing special."""
    special = [image_token, *(getattr(text, f"{name}_token_id", None) for name in ("pad", "bos", "eos"))]
    flat = [number for each in special for number in (each if isinstance(each, list | tuple) else [each])]
    ids = torch.arange(text.vocab_size)
    return ids[~torch.isin(ids, torch.tensor([number for number in flat if number is not None]))]
