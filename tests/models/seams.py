"""One tiny model for each way of cutting, and the calls that can be made of it: for tests of what is common to all."""

from functools import cache

import torch

from tokprune.outputs import answer_of
from tokprune.testing import tiny

SEAMS = {
    "delegated": ("blip2", {}),
    "heads": ("blip2-retrieval", {}),
    "embed-merge": ("llava", {"scorer": "received-attention"}),
    "embed-merge, positions": ("qwen2-vl", {}),
    "inside": ("llava", {"scorer": "text-attention"}),
    "layer": ("clip", {"scorer": "received-attention"}),
    "methods": ("timm-vit", {"scorer": "received-attention"}),
    "encoder's output": ("vision-encoder-decoder", {"scorer": "received-attention"}),
    "decoder": ("vision-encoder-decoder", {"scorer": "text-attention"}),
    "encoder in a decoder": ("mllama", {"scorer": "text-attention"}),
}
"""Name of a seam -> family, and what `tokprune.apply` is asked for beside `ASKED`."""
ASKED = {"scorer": "l2-norm", "keep": 3}
built = cache(tiny)
"""Models are built once; a test must leave them as they came."""


def options_of(seam):
    """What `tokprune.apply` is asked for."""
    return {**ASKED, **SEAMS[seam][1]}


@torch.no_grad()
def answer(model, inputs):
    """What a forward answers."""
    return answer_of(model(**inputs))


@torch.no_grad()
def generated(model, inputs):
    """Three new tokens."""
    inputs = {name: value for name, value in inputs.items() if not name.startswith("decoder")}
    return model.generate(**inputs, max_new_tokens=3, do_sample=False, use_cache=True)


def ways(model):
    """The calls that can be made of a model."""
    return (answer, generated) if hasattr(model, "generate") and model.can_generate() else (answer,)
