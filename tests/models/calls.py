"""Calls of a BLIP-2 that look alike for decoder-only and encoder-decoder language models."""

import torch
from transformers import GenerationMixin

from tokprune.adapters.upstream import cache_argument
from tokprune.testing.tiny_blip2 import BOS

NEW = 5
CACHE = cache_argument(GenerationMixin.prepare_inputs_for_generation)
"""What the installed transformers calls the cache of keys and values."""
MODES = {
    "greedy": {"do_sample": False},
    "beams": {"do_sample": False, "num_beams": 3},
    "sampling": {"do_sample": True, "temperature": 1.5},
    "two samples": {"do_sample": True, "num_return_sequences": 2},
    "two of three beams": {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
    "repetition penalty": {"do_sample": False, "repetition_penalty": 3.0},
    "static cache": {"do_sample": False, "cache_implementation": "static"},
}
"""Ways to generate -> options."""


def decoder(model, inputs):
    """What an encoder-decoder language model needs besides the prompt."""
    if not model.language_model.config.is_encoder_decoder:
        return {}
    rows = len(inputs["input_ids"] if "input_ids" in inputs else inputs["attention_mask"])
    return {"decoder_input_ids": torch.tensor([[0, BOS, 12, 13]]).repeat(rows, 1)}


def forward(model, inputs, **options):
    """The whole output of one forward without gradients."""
    with torch.no_grad():
        return model(**{**decoder(model, inputs), **inputs, **options})


def logits(model, inputs, **options):
    """Only the logits."""
    return forward(model, inputs, **options).logits


def generate(module, inputs, seed=7, **options):
    """`module.generate` with a seed; `NEW` tokens unless a length is given. Works for a bare language model too."""
    torch.manual_seed(seed)
    if not {"max_length", "max_new_tokens", "generation_config"} & set(options):
        options["max_new_tokens"] = NEW
    with torch.no_grad():
        return module.generate(**inputs, **options)


def answer(model, inputs, output):
    """The new tokens of what `generate` returned."""
    sequences = output if isinstance(output, torch.Tensor) else output.sequences
    if model.language_model.config.is_encoder_decoder or "input_ids" not in inputs:
        return sequences
    return sequences[:, inputs["input_ids"].shape[1] :]
