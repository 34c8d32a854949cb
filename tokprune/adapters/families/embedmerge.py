"""Models that put the features of their images in place of placeholders in the prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.embedfamily import EmbedFamily
from tokprune.adapters.embedmerge import EmbedMergeCut
from tokprune.errors import AdapterError
from tokprune.interfaces import Attachment, Cut, Observed


class EmbedMergeAdapter:
    """Image tokens leave in front of the language model."""

    name: ClassVar[str]
    module: ClassVar[str]
    """The module of transformers that defines the model."""
    model: ClassVar[str]
    """The model's class."""

    def matches(self, model: nn.Module) -> bool:
        """Whether `model` is of the class that the adapter is for."""
        # A model of a library that was never imported cannot exist, so there is no need to import it here.
        module = sys.modules.get(self.module)
        return module is not None and isinstance(model, getattr(module, self.model))

    def family(self, model: Any) -> EmbedFamily:
        """Module paths and sizes of one model."""
        raise NotImplementedError

    def offers(self, model: nn.Module) -> Mapping[str, tuple[str, ...]]:
        """Targets and their signals."""
        family = self.family(model)
        grid = () if family.grid is None and family.grids is None else ("grid",)
        return {"image": ("tokens", *family.sources, "text", *grid)}

    def attach(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Cut the image tokens in front of the language model."""
        if cut.target == "image":
            return EmbedMergeCut(model, self.family(model), cut, done, owner)
        raise AdapterError(f"adapter {self.name!r} has no target {cut.target!r}; its targets: 'image'")
