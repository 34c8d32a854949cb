"""A row: a tiny model, what goes into it, and what it must answer when pruned, worked out without tokprune."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tokprune.outputs import answer_of

GENERATE = {
    "greedy": {"do_sample": False},
    "beams": {"do_sample": False, "num_beams": 3},
    "two samples": {"do_sample": True, "num_return_sequences": 2},
}
"""Ways to generate -> options."""


@dataclass(frozen=True, eq=False)
class Family:
    """One target of one family of models.

    Args:
        name: what tests are called by; unique.
        adapter: registered name of the adapter that has to be found.
        build: makes a tiny random model in eval mode whose attention is far from uniform (no arguments).
        inputs: makes keyword arguments of its forward (no arguments): two rows of different length, left-padded where
            there is text, one image each (or one video, whose frames are images).
        oracle: (model, inputs, kept) -> what the model must answer if just the tokens of `kept` (bool `[image token]`)
            go on, made without tokprune: from inputs or embeddings shortened by hand, or by masking. NaN where it does
            not matter (padding).
        generated: (model, inputs, kept, options) -> the new tokens that `generate` must give; None if it cannot.
        tokens: how many target tokens each of the images has.
        target: what is removed.
        options: more arguments of `tokprune.apply`, such as `after`.
        tolerance: how far the answer may be from the oracle's; 0 where they are bitwise the same.
        several: more batches by name, such as several images in a row, tiles, other resolutions, one row alone.
        uneven: whether the images of a batch may keep different numbers of tokens.
        gaps: how far the answer may then be from the oracle's, beyond `tolerance`, where gaps are filled and masked.
        scorers: names of the scorers that fit with these options, no more and no less.
        new_tokens: (model, inputs, sequences) -> the new tokens in what `generate` gives; None for encoder-decoders,
            which give nothing else.
        asked: inputs of `generate`, made from those of the forward; None if they are the same.
    """

    name: str
    adapter: str
    build: Callable[[], Any]
    inputs: Callable[[], dict[str, Any]]
    oracle: Callable[[Any, Mapping[str, Any], Tensor], Tensor]
    tokens: tuple[int, ...]
    scorers: tuple[str, ...]
    generated: Callable[[Any, Mapping[str, Any], Tensor, Mapping[str, Any]], Tensor] | None = None
    target: str = "image"
    options: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0
    several: Mapping[str, Callable[[], dict[str, Any]]] = field(default_factory=dict)
    uneven: bool = True
    gaps: float = 0.0
    new_tokens: Callable[[Any, Mapping[str, Any], Tensor], Tensor] | None = None
    asked: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None

    def answer(self, model, inputs):
        """What a forward answers."""
        with torch.no_grad():
            return answer_of(model(**inputs))

    def generate(self, model, inputs, mode, count=5):
        """What `generate` returns, with a seed."""
        torch.manual_seed(7)
        inputs = inputs if self.asked is None else self.asked(inputs)
        with torch.no_grad():
            return model.generate(**inputs, max_new_tokens=count, **GENERATE[mode])

    def new(self, model, inputs, sequences):
        """The new tokens in what `generate` gave."""
        return sequences if self.new_tokens is None else self.new_tokens(model, inputs, sequences)

    def __str__(self):
        return self.name


def after_prompt(model, inputs, sequences):
    """The new tokens of a model that puts the prompt in front of them."""
    return sequences[:, inputs["input_ids"].shape[1] :]


def assert_same(found, expected, tolerance=0.0):
    """Equal, or as close as `tolerance`, wherever `expected` is not NaN."""
    assert found.shape == expected.shape
    matters = ~expected.isnan()
    assert matters.any()
    if tolerance:
        assert (found - expected)[matters].abs().max() <= tolerance
    else:
        assert torch.equal(found[matters], expected[matters])


def some_kept(tokens, counts, seed=3):
    """bool `[image token]`: any `counts` of so many tokens of each image."""
    generator = torch.Generator().manual_seed(seed)
    kept = torch.zeros(len(tokens), max(tokens), dtype=torch.bool)
    for image, (total, count) in enumerate(zip(tokens, counts, strict=True)):
        kept[image, torch.randperm(total, generator=generator)[:count]] = True
    return kept
