"""What a language model costs: reading a prompt of embeddings, and writing an answer token by token."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.upstream import cache_argument, cache_in, cache_of
from tokprune.bench.flops import Cost, deep, meter


class LanguageCosts:
    """Counts the runs of one language model without weights, as `generate` makes them.

    With beams, `generate` hands a decoder-only model the prompt once per beam; an encoder-decoder reads it once, and
    only what its decoder does is once per beam.

    Args:
        model: OPT, LLaMA, T5, or a LLaVA as its language model is called, on the meta device, with eager attention.
        width: Width of the embeddings that it is given.
        looks_at: How many vectors of an image its layers look at from outside the prompt, with their width, as in
            Mllama; None where images are in the prompt.
    """

    def __init__(self, model: Any, width: int, looks_at: tuple[int, int] | None = None) -> None:
        self._model = model
        self._image = {"cross_attention_states": torch.empty(1, *looks_at, device="meta")} if looks_at else {}
        self._width = width
        self._cache = cache_argument(model.forward)
        self._two_parts = bool(getattr(model.config, "is_encoder_decoder", False))
        self._read = cache(self._count_read)
        self._write = cache(self._count_write)

    def prefill(self, prompt: int, beams: int) -> tuple[Cost, ...]:
        """Reading `prompt` embeddings, and the first token of the answer."""
        if self._two_parts:
            return self._read(prompt), self._write(prompt, 0).per_beam(beams)
        return (self._read(prompt).per_beam(beams),)

    def decode(self, prompt: int, answer: int, beams: int) -> tuple[Cost, ...]:
        """The other tokens of an answer of `answer` tokens, one run each.

        Each run attends to one token more than the one before, and nothing else about it changes: so the first and the
        last one are counted, and the others lie on the line between them.
        """
        steps = answer - 1
        if steps < 1:
            return ()
        first, last = self._write(prompt, 1), self._write(prompt, steps)
        rise = Cost() if steps == 1 else (last - first) // (steps - 1)
        return tuple((first + step * rise).per_beam(beams) for step in range(steps))

    def _count_read(self, prompt: int) -> Cost:
        tokens = self._embeddings(prompt)
        if self._two_parts:
            reader = self._model.get_encoder()
            return deep(lambda: meter(lambda: reader(inputs_embeds=tokens), reader), reader.block)
        # `generate` wants the logits of the last token only.
        read = {"inputs_embeds": tokens, "attention_mask": _mask(prompt), "logits_to_keep": 1, "use_cache": False}
        read |= self._image
        return deep(lambda: meter(lambda: self._model(**read), self._model), self._stack())

    def _count_write(self, prompt: int, before: int) -> Cost:
        """One run for one token when `before` tokens of the answer went through already."""

        def run() -> Cost:
            inputs = self._inputs(prompt, before)
            cost = meter(lambda: self._model(**inputs), self._model)
            return cost + Cost(cache=_numbers(cache_in(inputs)) if before else 0)

        return deep(run, self._stack())

    @torch.no_grad()
    def _inputs(self, prompt: int, before: int) -> dict[str, Any]:
        """What the model is given for one token: the token, and the cache of all that went through before."""
        if self._two_parts:
            given: dict[str, Any] = {"encoder_outputs": (self._embeddings(prompt),)}
            if before:
                wrote = self._model(**given, decoder_input_ids=ids(before), use_cache=True)
                given[self._cache] = cache_of(wrote)
            return {**given, "decoder_input_ids": ids(1)}
        # The first token comes out of the prefill, so the first run after it finds the prompt in the cache.
        seen = prompt + before - 1
        read = {"inputs_embeds": self._embeddings(seen), "attention_mask": _mask(seen), "logits_to_keep": 1}
        read |= self._image
        past = cache_of(self._model(**read, use_cache=True))
        return {
            "input_ids": ids(1),
            "attention_mask": _mask(seen + 1),
            "logits_to_keep": 1,
            self._cache: past,
        }

    def _embeddings(self, length: int) -> Tensor:
        return torch.empty(1, length, self._width, device="meta")

    def _stack(self) -> nn.ModuleList:
        decoder: Any = self._model.get_decoder()
        layers: nn.ModuleList = decoder.block if self._two_parts else decoder.layers
        return layers


def ids(length: int) -> Tensor:
    """Token ids `[1 token]`: which ones makes no difference to any cost."""
    return torch.zeros(1, length, dtype=torch.long, device="meta")


def _mask(length: int) -> Tensor:
    """A mask that hides nothing. Without one, LLaMA would look at the positions' values, and there are none."""
    return torch.ones(1, length, dtype=torch.long, device="meta")


def _numbers(past: Any) -> int:
    """How many numbers a key-value cache holds."""
    both = hasattr(past, "cross_attention_cache")
    halves = [past.self_attention_cache, past.cross_attention_cache] if both else [past]
    layers = [layer for half in halves for layer in half.layers]
    return sum(layer.keys.numel() + layer.values.numel() for layer in layers if layer.keys is not None)
