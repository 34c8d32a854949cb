"""The seam inside the language model by itself, on tiny LLaVAs with several kinds of language models."""

from dataclasses import dataclass
from functools import cache

import torch

import tokprune
from tokprune.adapters.decoder.cut import INSIDE_SIGNALS, DecoderCut
from tokprune.adapters.prompt.family import PromptFamily
from tokprune.errors import AdapterError
from tokprune.testing.tiny_inside import IMAGE, tiny_inside


@dataclass(frozen=True)
class Inside:
    """Cuts a LLaVA inside its language model and nowhere else."""

    core: str = "model"

    def matches(self, model):
        return type(model).__name__.startswith("Llava")

    def offers(self, model):
        return {"image": INSIDE_SIGNALS}

    def weighs(self, model, target, after=None):
        return True

    def attach(self, model, cut, done, owner):
        if cut.target != "image":
            raise AdapterError(f"no target {cut.target!r}")
        language_model = f"{self.core}.language_model".strip(".")
        family = PromptFamily("llava", IMAGE, ("pixel_values",), base=self.core, language_model=language_model)
        return DecoderCut(model, family, cut, done, owner)


built = cache(tiny_inside)
"""Models are built once; a test must leave them as they came."""


def pruned(model, **options):
    """A policy inside the language model, with `text-attention` unless told otherwise."""
    return tokprune.apply(model, adapter=Inside(), **{"scorer": "text-attention", **options})


def logits(model, inputs, **options):
    """Logits without gradients."""
    with torch.no_grad():
        return model(**inputs, **options).logits


def generate(model, inputs, **options):
    """New tokens, with a seed."""
    torch.manual_seed(7)
    with torch.no_grad():
        found = model.generate(**inputs, **{"max_new_tokens": 5, **options})
    return found[:, inputs["input_ids"].shape[1] :]
