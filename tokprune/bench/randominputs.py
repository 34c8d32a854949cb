"""Random inputs: pictures of noise and a prompt of random words, for measuring what depends on shapes only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokprune.errors import InvalidValueError


def random_inputs(model: Any, batch_size: int, prompt_tokens: int = 8, seed: int = 0) -> dict[str, Tensor]:
    """What `generate` of a BLIP-2-like model takes: one picture and one prompt per sample, without padding.

    Args:
        model: A model whose configuration tells image size, placeholder and number of query tokens.
        batch_size: Samples.
        prompt_tokens: Words behind the placeholders of the query tokens, of each sample.
        seed: Another seed gives other pictures and words.

    Returns:
        `pixel_values` `[sample channel row column]` in the image encoder's dtype, `input_ids` and `attention_mask`
        `[sample token]`, and for InstructBLIP the same prompt for its Q-Former; all on the model's device.

    Raises:
        InvalidValueError: A number below 1, or a configuration without the placeholder.
    """
    for name, number in (("batch size", batch_size), ("prompt tokens", prompt_tokens)):
        if number < 1:
            raise InvalidValueError(f"{name}: expected at least 1, got {number}")
    config, first = model.config, next(model.parameters())
    if getattr(config, "image_token_id", None) is None:
        raise InvalidValueError(
            f"random inputs: the configuration of this {type(model).__name__} does not say which placeholder the query "
            "tokens take in the prompt (image_token_index); old checkpoints do not; set it, or fetch a newer revision"
        )
    size = config.vision_config.image_size
    rows, columns = (size, size) if isinstance(size, int) else size
    generator = torch.Generator().manual_seed(seed)  # of the host, so that every device gets the same
    pixels = torch.randn(batch_size, 3, rows, columns, generator=generator)
    words = _words(config.text_config, config.image_token_id)
    prompt = words[torch.randint(len(words), (batch_size, prompt_tokens), generator=generator)]
    placeholders = torch.full((batch_size, config.num_query_tokens), config.image_token_id)
    ids = torch.cat([placeholders, prompt], dim=1)
    dtype = next(model.vision_model.parameters()).dtype
    inputs = {"pixel_values": pixels.to(dtype), "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.model_type == "instructblip":
        inputs["qformer_input_ids"] = prompt % config.qformer_config.vocab_size
        inputs["qformer_attention_mask"] = torch.ones_like(prompt)
    return {name: value.to(first.device) for name, value in inputs.items()}


def _words(text: Any, image_token: int) -> Tensor:
    """Ids of all words that mean nothing special."""
    special = [image_token, *(getattr(text, f"{name}_token_id", None) for name in ("pad", "bos", "eos"))]
    flat = [number for each in special for number in (each if isinstance(each, list | tuple) else [each])]
    ids = torch.arange(text.vocab_size)
    return ids[~torch.isin(ids, torch.tensor([number for number in flat if number is not None]))]
