"""What prompt pruning is in any model: attached, opened, and made known to calls that go on from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tokprune.adapters.attached import Attached
from tokprune.adapters.calls import current_call
from tokprune.adapters.capture import Capture
from tokprune.adapters.continued import Continuations
from tokprune.adapters.modules import module_at
from tokprune.adapters.prompt.call import PromptCall
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.prompt.refusals import refuse_call, refuse_cut
from tokprune.adapters.prompt.shorten import Shortener
from tokprune.adapters.prompt.signal import ImageSignals
from tokprune.adapters.prompt.weighing import PromptWeighing
from tokprune.adapters.rows import Rows
from tokprune.adapters.sizes import Sizes
from tokprune.adapters.sources import chosen_sources, layer_around
from tokprune.adapters.upstream import cache_in
from tokprune.interfaces import Cut, Observed


class PromptPruning(Attached):
    """Prompt pruning on one model of a `PromptFamily`. What it is attached to, and when it prunes, a subclass says.

    The model is handed fewer placeholders and fewer image tokens, so that transformers itself does positions, masks,
    caches, beams and samples on the shorter prompt.
    """

    stages: ClassVar[bool] = True

    def __init__(
        self, model: nn.Module, family: PromptFamily, cut: Cut, done: Callable[[Observed], Any], owner: object
    ) -> None:
        super().__init__(model, cut, done, owner)
        self.family = family
        self.base = module_at(model, family.base)
        self.language_model = self.reader = module_at(model, family.language_model)
        config = self._config()
        refuse_cut(family, cut, config)
        watched = filter(None, (family.base, family.language_model))
        sources = chosen_sources(family.sources, cut)
        features = layer_around(family.sources["encoder_attention"][-1]) if "encoder_features" in cut.needs else None
        self.capture = Capture(self, model, sources, family.vectors, tuple(watched), features)
        signals = ImageSignals(model, self.base, family, cut, self.capture)
        self.shortener = Shortener(family, cut, signals, config)
        self.continued = Continuations()
        proportional = cut.attention == "proportional"
        self.weighing = PromptWeighing(self, model, family, self._sizes) if proportional else None

    def _config(self) -> Any:
        """The configuration of the language model."""
        raise NotImplementedError

    @property
    def shortened(self) -> slice:
        """All layers of the cache hold the shorter sequence: an encoder-decoder's those of its cross-attention."""
        return slice(None)

    def tokens_left(self) -> list[int] | None:
        """How many tokens each image has left in the call under way, of each prompt once; None if all it came with.

        A pruning point inside the language model goes by it, as by `rows_left`.
        """
        call: PromptCall | None = current_call(self)
        return None if call is None or call.kept is None else call.kept.counts

    def rows_left(self) -> Rows | None:
        """Which positions are left of a finished prompt that came to the language model in the call under way."""
        call: PromptCall | None = current_call(self)
        return None if call is None or self.family.vectors is None else call.rows

    def _check(self, arguments: dict[str, Any], generating: bool) -> None:
        """Raise unless a call with images can be pruned rightly."""
        self.capture.verify()
        refuse_call(self.family, self.cut, arguments, self.model, generating)
        if self.weighing is not None:
            self.weighing.refuse_checkpointing()

    def _sizes(self, cache: Any) -> Sizes | None:
        """How many tokens each column stands for of the prompt that is read, or that `cache` holds."""
        call: PromptCall | None = current_call(self)
        return self.continued.sizes_in(cache) if call is None else call.sizes

    def _end(self, call: PromptCall, output: Any) -> Any:
        return None if call.asked is None else call.asked.answered(self.model, output, call.shown)


def unpacked(call: PromptCall, kwargs: dict[str, Any], values: Tensor) -> dict[str, Any]:
    """Arguments of a language model that reads `values` `[row sequence ...]`, with a mask where it needs one.

    Without a mask, positions with gaps are read as several sequences packed into one.
    """
    if not call.gapped or kwargs.get("attention_mask") is not None or cache_in(kwargs) is not None:
        return kwargs
    return {**kwargs, "attention_mask": torch.ones(values.shape[:2], dtype=torch.long, device=values.device)}
