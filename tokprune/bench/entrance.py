"""The entrance of the language model: how many tokens of a prompt really go in, counted there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

_PLACES = ("language_model", "model.language_model", "model.text_model")
"""Where models that look at pictures keep their language model."""
_SEQUENCES = ("inputs_embeds", "input_ids")


@contextmanager
def watch_entrance(model: nn.Module) -> Iterator[list[int]]:
    """Notes, inside the block, the length of every sequence that enters the language model.

    The first one of a call of `generate` is the prompt, image placeholders and padding included; a cut inside the image
    encoder leaves it as it is, one in front of the language model makes it shorter. An encoder-decoder is watched at
    its encoder.

    Yields:
        The lengths, in order; empty it before a call. It stays empty for a model whose language model is not found.
    """
    lengths: list[int] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sequence = next((found for name in _SEQUENCES if (found := kwargs.get(name)) is not None), None)
        if isinstance(sequence, Tensor):
            lengths.append(sequence.shape[1])

    doors: list[Any] = [found for path in _PLACES if (found := _at(model, path)) is not None][:1]
    if doors and getattr(doors[0].config, "is_encoder_decoder", False):
        doors = [doors[0].get_encoder()]
    hooks = [door.register_forward_pre_hook(note, with_kwargs=True) for door in doors]
    try:
        yield lengths
    finally:
        for hook in hooks:
            hook.remove()


def _at(model: nn.Module, path: str) -> Any:
    found: Any = model
    for name in path.split("."):
        found = getattr(found, name, None)
    return found
