"""Arithmetic of models whose language model reads every image token: what a call costs, unpruned or pruned."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.after import After, check_after, layers_before
from tokprune.bench import randominputs
from tokprune.bench.costs import Costs, Workload
from tokprune.bench.flops import Cost, deep, meter
from tokprune.bench.language import LanguageCosts
from tokprune.bench.parts import llava_tokens, parts_of
from tokprune.bench.weightless import weightless
from tokprune.errors import AdapterError, InvalidValueError
from tokprune.keep import Keep, keep_count

MODELS = {
    "llava": "LlavaForConditionalGeneration",
    "qwen2_vl": "Qwen2VLForConditionalGeneration",
    "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration",
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "mllama": "MllamaForConditionalGeneration",
}
"""Type of the model -> the class whose arithmetic is known."""
_INSIDE = ("llava",)
"""Types of models whose image tokens can leave after a layer of the language model, too."""


class PromptArithmetic:
    """Counts what one sample of a `generate` call costs, on a copy of the model without weights.

    Image tokens leave in front of the language model: what they are made by costs the same, and the prompt is shorter,
    or (Mllama's) the image that the layers look at. Or they leave after a layer of the language model: then the layers
    up to that one read and remember all of them.

    Args:
        model: A LLaVA, Qwen-VL or Mllama for conditional generation, on any device, "meta" included. It is only looked
            at. A Qwen-VL is given a picture of `QWEN_PATCHES`, an Mllama one that fills all its tiles.

    Raises:
        AdapterError: Another model; its arithmetic is not known here.
    """

    stages: Mapping[str, str] = MappingProxyType({"image": "prefill"})
    """Target -> the stage that pruning it makes cheaper."""

    def __init__(self, model: nn.Module) -> None:
        config: Any = getattr(model, "config", None)
        self.kind: str = getattr(config, "model_type", "")
        if type(model).__name__ != MODELS.get(self.kind):
            raise AdapterError(
                f"arithmetic: expected {' or '.join(MODELS.values())} (the model itself, neither wrapped nor "
                f"compiled), got {type(model).__name__}"
            )
        self._twin = weightless(config, attention="eager")
        self.tiles = config.vision_config.max_num_tiles if self.kind == "mllama" else 1
        """In how many tiles a picture is read; each has all the image tokens, and one that is protected."""
        self.tokens: Mapping[str, int] = {"image": _tokens(config)}
        """Target -> tokens of each image, or of each tile of it, unpruned."""
        self.depth = len(self._twin.get_decoder().layers)
        """Layers of the language model."""
        self._language = cache(self._language_costs)
        self._seeing = cache(partial(_encoder, self._twin))
        self._connecting = cache(partial(_connector, self._twin))

    def count(
        self,
        workload: Workload | None = None,
        *,
        query_keep: Keep | None = None,
        image_keep: Keep | None = None,
        after: After | None = None,
    ) -> Costs:
        """What one sample costs.

        Args:
            workload: Prompt, answer and beams; None for the default `Workload`.
            query_keep: None: there are no query tokens.
            image_keep: Keep of target "image": what reaches the language model. None for all.
            after: After which layer of the language model image tokens leave; None for in front of it.

        Raises:
            InvalidValueError: A keep that is none, or of tokens that there are not, or an `after` that the model does
                not have.
        """
        if query_keep is not None:
            raise InvalidValueError(f"arithmetic: {type(self._twin).__name__} has no query tokens")
        work, whole = workload or Workload(), self.tokens["image"]
        kept = whole if image_keep is None else keep_count(image_keep, whole)
        prefill, decode = self._reading(work, kept)
        layers = self.cuts(after)
        if layers and kept < whole:
            all_of_it = self._reading(work, whole)
            prefill, decode = (
                # Layers are alike, so each one in front of the cut costs its part of what all would cost more.
                tuple(s + layers[0] * ((w - s) // self.depth) for w, s in zip(unpruned, short, strict=True))
                for unpruned, short in zip(all_of_it, (prefill, decode), strict=True)
            )
        return Costs(encoder=(self._seeing(),), connector=(self._connecting(),), prefill=prefill, decode=decode)

    def cuts(self, after: After | None = None) -> tuple[int, ...]:
        """How many layers of the language model run before the cut; empty for in front of it.

        Raises:
            InvalidValueError: `after` names several layers, or more than there are, or the model has no such cut.
        """
        if after is None:
            return ()
        if self.kind not in _INSIDE:
            raise InvalidValueError(
                f"arithmetic: image tokens of a {type(self._twin).__name__} leave in front of the language model only; "
                f"omit `after`, got {after!r}"
            )
        layers = layers_before(check_after(after), self.depth)
        if len(layers) > 1:
            raise InvalidValueError(f"arithmetic: image tokens leave after one layer, `after`={after!r} names several")
        return layers

    def _reading(self, work: Workload, kept: int) -> tuple[tuple[Cost, ...], tuple[Cost, ...]]:
        """What the language model does with so many image tokens: prefill and decode."""
        looks = self.kind == "mllama"
        language = self._language(kept if looks else None)
        # Mllama's prompt has one placeholder for the picture, Qwen-VL's has a word on each side of it.
        prompt = work.text_tokens + (1 if looks else kept + 2 * self.kind.startswith("qwen"))
        return language.prefill(prompt, work.beams), language.decode(prompt, work.answer_tokens, work.beams)

    def _language_costs(self, kept: int | None) -> LanguageCosts:
        width = self._twin.config.get_text_config().hidden_size
        return LanguageCosts(self._twin, width, None if kept is None else (self.tiles * (kept + 1), width))


def _tokens(config: Any) -> int:
    vision = config.vision_config
    if config.model_type == "llava":
        return llava_tokens(config)
    if config.model_type == "mllama":
        return int((vision.image_size // vision.patch_size) ** 2)
    rows, columns = randominputs.QWEN_PATCHES
    return int(rows * columns // vision.spatial_merge_size**2)


def _encoder(twin: Any) -> Cost:
    vision, tower = twin.config.vision_config, parts_of(twin).encoder
    if hasattr(vision, "spatial_merge_size"):
        return _packed_encoder(twin.model.visual, vision)
    size, layers = vision.image_size, next(m for m in tower.modules() if isinstance(m, nn.ModuleList))
    if hasattr(vision, "max_num_tiles"):
        tiles = vision.max_num_tiles
        given: dict[str, Tensor] = {
            "pixel_values": torch.empty(1, 1, tiles, 3, size, size, device="meta"),
            "aspect_ratio_ids": torch.ones(1, 1, dtype=torch.long, device="meta"),
            "aspect_ratio_mask": torch.ones(1, 1, tiles, dtype=torch.long, device="meta"),
        }
        return meter(lambda: tower(**given), tower)
    pixels = torch.empty(1, 3, size, size, device="meta")
    return deep(lambda: meter(lambda: tower(pixels), tower), layers)


def _packed_encoder(visual: Any, vision: Any) -> Cost:
    """Qwen-VL's: the patches of a picture, most layers of Qwen2.5-VL window by window."""
    rows, columns = randominputs.QWEN_PATCHES
    patches = torch.empty(rows * columns, 3 * vision.temporal_patch_size * vision.patch_size**2, device="meta")
    cost = meter(lambda: visual.patch_embed(patches), visual.patch_embed)
    width = visual.blocks[0].norm1.weight.shape[0]
    hidden = torch.empty(rows * columns, width, device="meta")
    turned = torch.empty(rows * columns, width // vision.num_heads, device="meta")
    everything, windows = [rows * columns], [rows * columns]
    if hasattr(vision, "window_size"):
        side = vision.window_size // vision.patch_size
        windows = [
            min(side, rows - row) * min(side, columns - column)
            for row in range(0, rows, side)
            for column in range(0, columns, side)
        ]
    wide = len(getattr(vision, "fullatt_block_indexes", visual.blocks))
    for sizes, times in ((everything, wide), (windows, len(visual.blocks) - wide)):
        ends = torch.tensor([0, *sizes]).cumsum(0, dtype=torch.int32)
        call = partial(visual.blocks[0], hidden, cu_seqlens=ends, position_embeddings=(turned, turned))
        cost = cost + times * meter(call, visual.blocks[0])
    return cost


def _connector(twin: Any) -> Cost:
    projector: Any = parts_of(twin).connected
    vision = twin.config.vision_config
    if hasattr(vision, "spatial_merge_size"):
        rows, columns = randominputs.QWEN_PATCHES
        patches = torch.empty(rows * columns, twin.model.visual.blocks[0].norm1.weight.shape[0], device="meta")
        parts = [projector, *getattr(twin.model.visual, "deepstack_merger_list", ())]
        return sum((meter(partial(part, patches), part) for part in parts), start=Cost())
    count, width = _tokens(twin.config), vision.hidden_size
    if hasattr(vision, "max_num_tiles"):
        count, width = vision.max_num_tiles * (count + 1), vision.vision_output_dim
    tokens = torch.empty(1, count, width, device="meta")
    return meter(lambda: projector(tokens), projector)
