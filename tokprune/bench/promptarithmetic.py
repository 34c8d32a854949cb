"""Arithmetic of models whose language model reads every image token: what a call costs, unpruned or pruned."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from tokprune.after import After
from tokprune.bench.costs import Costs, Workload
from tokprune.bench.flops import Cost, deep, meter
from tokprune.bench.language import LanguageCosts
from tokprune.bench.parts import llava_tokens, parts_of
from tokprune.bench.weightless import weightless
from tokprune.errors import AdapterError, InvalidValueError
from tokprune.keep import Keep, keep_count

_MODELS = {"llava": "LlavaForConditionalGeneration"}


class PromptArithmetic:
    """Counts what one sample of a `generate` call costs, on a copy of the model without weights.

    Image tokens leave in front of the language model: what they are made by costs the same, and the prompt is shorter.

    Args:
        model: A `LlavaForConditionalGeneration`, on any device, "meta" included. It is only looked at.

    Raises:
        AdapterError: Another model; its arithmetic is not known here.
    """

    stages: Mapping[str, str] = MappingProxyType({"image": "prefill"})
    """Target -> the stage that pruning it makes cheaper."""

    def __init__(self, model: nn.Module) -> None:
        config: Any = getattr(model, "config", None)
        if type(model).__name__ != _MODELS.get(getattr(config, "model_type", "")):
            raise AdapterError(
                f"arithmetic: expected {' or '.join(_MODELS.values())} (the model itself, neither wrapped nor "
                f"compiled), got {type(model).__name__}"
            )
        self._twin = weightless(config, attention="eager")
        self._language = LanguageCosts(self._twin, config.get_text_config().hidden_size)
        self._seeing = cache(self._count_encoder)
        self._connecting = cache(self._count_connector)
        self.tokens: Mapping[str, int] = {"image": llava_tokens(config)}
        """Target -> tokens of each image, unpruned."""

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
            after: Nothing: image tokens leave in front of the language model.

        Raises:
            InvalidValueError: A keep that is none, or of tokens that there are not.
        """
        if query_keep is not None:
            raise InvalidValueError(f"arithmetic: {type(self._twin).__name__} has no query tokens")
        work, whole = workload or Workload(), self.tokens["image"]
        prompt = work.text_tokens + (whole if image_keep is None else keep_count(image_keep, whole))
        return Costs(
            encoder=(self._seeing(),),
            connector=(self._connecting(),),
            prefill=self._language.prefill(prompt, work.beams),
            decode=self._language.decode(prompt, work.answer_tokens, work.beams),
        )

    def _count_encoder(self) -> Cost:
        tower: Any = parts_of(self._twin).encoder
        size = self._twin.config.vision_config.image_size
        pixels = torch.empty(1, 3, size, size, device="meta")
        layers = next(module for module in tower.modules() if isinstance(module, nn.ModuleList))
        return deep(lambda: meter(lambda: tower(pixels), tower), layers)

    def _count_connector(self) -> Cost:
        projector: Any = parts_of(self._twin).connected
        width = self._twin.config.vision_config.hidden_size
        tokens = torch.empty(1, self.tokens["image"], width, device="meta")
        return meter(lambda: projector(tokens), projector)
