"""The entrance of the language model: how many tokens of a prompt really go in, counted there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def watch_entrance(model: nn.Module) -> Iterator[list[int]]:
    """Notes, inside the block, the length of every sequence of embeddings that enters the language model.

    The first one of a call of `generate` is the prompt, image placeholders and padding included; a cut inside the image
    encoder leaves it as it is, one in front of the language model makes it shorter. An encoder-decoder is watched at
    its encoder.

    Yields:
        The lengths, in order; empty it before a call. It stays empty for a model without a `language_model`.
    """
    lengths: list[int] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sequence = kwargs.get("inputs_embeds")
        if isinstance(sequence, Tensor):
            lengths.append(sequence.shape[1])

    language_model: Any = getattr(model, "language_model", None)
    doors = [] if language_model is None else [language_model]
    if language_model is not None and getattr(language_model.config, "is_encoder_decoder", False):
        doors = [language_model.get_encoder()]
    hooks = [door.register_forward_pre_hook(note, with_kwargs=True) for door in doors]
    try:
        yield lengths
    finally:
        for hook in hooks:
            hook.remove()
