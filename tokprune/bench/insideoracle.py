"""The oracle of image tokens that leave after a layer of the language model: later layers are handed fewer rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.decoder.family import AFTER
from tokprune.after import After, check_after, layers_before
from tokprune.bench.oracle import new_tokens, take_rows


def inside_place(model: Any, after: After | None) -> int:
    """How many layers of the language model run in front of the cut; None for the adapter's default."""
    depth = len(model.get_decoder().layers)
    default = max(1, min(AFTER, depth - 1))
    return layers_before(default if after is None else check_after(after), depth)[-1]


@torch.no_grad()
def inside_oracle_generate(
    model: Any, inputs: Mapping[str, Tensor], rows: Tensor, place: int, **options: Any
) -> Tensor:
    """`model.generate` whose layers from `place` on read only these rows of the prompt, at their own positions.

    Returns:
        New token ids of each sample, without the prompt.
    """
    with _shorter(model.get_decoder().layers[place:], rows, inputs["input_ids"].shape[1]):
        return new_tokens(model, inputs, model.generate(**inputs, **options))


@contextmanager
def _shorter(layers: Any, rows: Tensor, prompt: int) -> Iterator[None]:
    def shorten(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        hidden, given = args[0], dict(kwargs)
        stays = rows.repeat_interleave(len(hidden) // len(rows), dim=0)  # once for each beam
        mask, turned = kwargs.get("attention_mask"), kwargs["position_embeddings"]
        reads = turned[0].shape[1] == prompt  # and not one token after another
        if reads:
            hidden = take_rows(hidden, stays) if hidden.shape[1] == prompt else hidden
            given["position_embeddings"] = tuple(take_rows(each.expand(len(stays), -1, -1), stays) for each in turned)
        if isinstance(mask, Tensor):
            seen = torch.arange(prompt, mask.shape[-1], device=mask.device).expand(len(stays), -1)
            columns = torch.cat([stays, seen], dim=1)[:, None, None].expand(-1, *mask.shape[1:3], -1)
            mask = mask.expand(len(stays), -1, -1, -1).gather(3, columns)
            if reads:
                mask = mask.gather(2, stays[:, None, :, None].expand(-1, mask.shape[1], -1, mask.shape[3]))
            given["attention_mask"] = mask
        return (hidden, *args[1:]), given

    hooks = [layer.register_forward_pre_hook(shorten, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
