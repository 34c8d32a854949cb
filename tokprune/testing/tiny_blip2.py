"""Short names for the tiny BLIP-2 of the table."""

from __future__ import annotations

import copy
from typing import Any

from tokprune.testing.models import tiny_model
from tokprune.testing.models.inputs_qformer import BOS, IMAGE, PAD, QUERIES, TEXT, prompts
from tokprune.testing.models.spread import SPREAD, randomise
from tokprune.testing.models.table import ROWS

__all__ = ["BOS", "IMAGE", "PAD", "QUERIES", "SPREAD", "TEXT", "prompts", "randomise"]

LANGUAGE_MODELS = ("opt", "t5")
"""The kinds that transformers' BLIP-2 comes with."""


def tiny_blip2(kind: str = "opt", attention: str = "sdpa", seed: int = 0, shallow: bool = False) -> Any:
    """A random BLIP-2 in eval mode; `shallow` leaves one layer of each kind."""
    return tiny_model("blip2", seed, attention, text=kind, depth=1 if shallow else 3)


def tiny_blip2_model(kind: str = "opt") -> Any:
    """The same as a `Blip2Model`, which has no `generate`."""
    return tiny_model("blip2", model="Blip2Model", text=kind)


def with_attention(model: Any, attention: str) -> Any:
    """A copy of `model` with another attention implementation everywhere."""
    twin = copy.deepcopy(model)
    twin.set_attn_implementation(attention)
    return twin


def configuration(kind: str, shallow: bool) -> dict[str, Any]:
    """What the configuration of a tiny model is made with."""
    given = dict(ROWS["blip2"].config(kind, 1 if shallow else 3))
    del given["model"]
    return given
