"""Looks ahead: what the reader's first layer will make of the image tokens, before it runs.

Norm and projections are called on the image tokens alone. So the keys come without positions: no rotation, no learned
positions that a language model adds to its input, no norm after the projection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.modules import module_at
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.adapters.upstream import INPUT_NORMS, KEY_AND_VALUE
from tokprune.adapters.weights import weights_at_hand

READER_SIGNALS = ("reader_keys", "reader_values")


@dataclass(frozen=True, eq=False)
class FirstLayer:
    """The first self-attention of a language model.

    Attributes:
        norm: what its input goes through, or None.
        key: makes its keys.
        value: makes its values.
    """

    norm: nn.Module | None
    key: nn.Module
    value: nn.Module

    @classmethod
    def of(cls, model: nn.Module, family: PromptFamily) -> FirstLayer | None:
        """That of the language model which `family` describes; None if its parts are not known by their names."""
        for name, module in module_at(model, family.language_model).named_modules():
            children: dict[str, Any] = dict(module.named_children())
            pair = next((pair for pair in KEY_AND_VALUE if set(pair) <= set(children)), None)
            if pair is None:
                continue
            parent: Any = module_at(model, f"{family.language_model}.{name}".rpartition(".")[0])
            norm = next((getattr(parent, each) for each in INPUT_NORMS if hasattr(parent, each)), None)
            first = getattr(parent, "do_layer_norm_before", True)  # OPT of 350m norms its output instead
            return None if norm is None else cls(norm if first else None, children[pair[0]], children[pair[1]])
        return None

    def signals(self, tokens: Tensor, needs: Any) -> dict[str, Tensor]:
        """Those of `READER_SIGNALS` that are needed, of `tokens` as the reader reads them `[image token dim]`."""
        wanted = {
            name: part for name, part in zip(READER_SIGNALS, (self.key, self.value), strict=True) if name in needs
        }
        if not wanted:
            return {}
        norms = [] if self.norm is None else [self.norm]
        with torch.no_grad(), weights_at_hand(*norms, *wanted.values()):
            states = tokens if self.norm is None else self.norm(tokens)
            return {name: part(states) for name, part in wanted.items()}
