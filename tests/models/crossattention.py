"""Tiny models with cross-attention, built once for all tests that leave them as they came."""

from functools import cache, partial

import torch

from tokprune.testing import tiny_crossattention, tiny_idefics, tiny_mllama
from tokprune.testing.tiny_blip2 import with_attention
from tokprune.testing.tiny_crossattention import tiny_blip, tiny_vision_encoder_decoder, tiny_whisper

_BUILDERS = {
    "captions": tiny_blip,
    "answers": partial(tiny_blip, answers=True),
    "whisper": tiny_whisper,
    "pair": tiny_vision_encoder_decoder,
    "mllama": tiny_mllama.tiny_mllama,
    "tiles": partial(tiny_mllama.tiny_mllama, tiles=2),
    "idefics": tiny_idefics.tiny_idefics,
}
INPUTS = {
    "captions": tiny_crossattention.prompts,
    "answers": tiny_crossattention.answers_to(tiny_crossattention.prompts),
    "whisper": tiny_crossattention.sounds,
    "pair": tiny_crossattention.pictures,
    "mllama": tiny_mllama.prompts,
    "tiles": partial(tiny_mllama.prompts, images=(2, 1), tiles=2, real=(2, 1)),
    "idefics": tiny_idefics.prompts,
}
"""Name of a model -> what makes inputs of its forward."""


@cache
def tiny(name):
    """A shared model; leave it as it came."""
    return _BUILDERS[name]()


@cache
def eager(name):
    """The same with eager attention, which gives away its probabilities."""
    return with_attention(tiny(name), "eager")


def attention_of(model, path, inputs):
    """The probabilities `[row head query key]` that the attention module at `path` computes."""
    found = []
    hook = model.get_submodule(path).register_forward_hook(lambda module, args, output: found.append(output[1]))
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    return found[0]
