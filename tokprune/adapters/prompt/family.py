"""What prompt pruning has to know about a model family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.sources import AttentionSource

Places = Callable[[nn.Module, Mapping[str, Any], Sequence[int]], Sequence[Tensor]]
"""Base model, arguments of the call, tokens of each image -> for each image, int `[token merged]`: which of the
encoder's tokens (counted through the encoder's batch, protected ones left out) each target token is made of; -1 for
none."""

Grids = Callable[[Mapping[str, Any]], Sequence[tuple[int, int]]]
"""Arguments of the call -> rows and columns of each image's tokens."""


@dataclass(frozen=True, eq=False)
class PromptFamily:
    """A model whose prompt has placeholders, in place of which a language model reads what images were turned into.

    Args:
        name: name of the adapter, for messages.
        image_token_id: id of the placeholder that each image token takes in the prompt.
        arguments: names of the arguments that the images are encoded with; the first carries the images.
        sources: signal -> all its attention layers, in order; layers whose output is not used are left out.
        base: path of the module that has `get_image_features` and merges the features into the prompt.
        language_model: path of the language model.
        tokens_per_image: how many tokens every image has, where that is fixed; None where images come apart.
        fixed: arguments that change which layers and tokens of the encoder are used, with the values that `sources`
            were made for.
        places: of which encoder tokens the target tokens are made; None where they are the encoder's, in order.
        rotary: whether the base computes positions of a prompt from the images in it (`get_rope_index`).
        others: ids of other placeholders, such as a video's, which are no text either.
        first_position: what a forward starts to count with.
        grid: rows and columns of the image tokens, where all images have the same; None elsewhere.
        grids: those of each image, where they have different ones.
        vectors: for a model that delegates text to a language model with a `generate` of its own, and hands it a
            finished prompt of embeddings: path of the module whose input is the image tokens' vectors (the projection).
            None where the model itself reads ids and merges features into them.
    """

    name: str
    image_token_id: int
    arguments: Sequence[str]
    sources: Mapping[str, Sequence[AttentionSource]] = field(default_factory=dict)
    base: str = "model"
    language_model: str = "model.language_model"
    tokens_per_image: int | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    places: Places | None = None
    rotary: bool = False
    others: Sequence[int] = ()
    first_position: int = 0
    grid: tuple[int, int] | None = None
    grids: Grids | None = None
    vectors: str | None = None
