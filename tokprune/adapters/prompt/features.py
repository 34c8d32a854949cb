"""What `get_image_features` returned, image by image; and the same thing again with fewer tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.grouped import by_image
from tokprune.adapters.prompt.images import Group
from tokprune.adapters.upstream import deepstack, with_deepstack


@dataclass(frozen=True, eq=False)
class Features:
    """Features of the images of one call.

    Attributes:
        output: what the model itself returned; `pooler_output` is a tensor `[image token dim]` or `[token dim]`, or a
            list or tuple with a tensor for each image, or for each row of the prompt.
        images: the vectors `[token dim]` of each image.
        layers: those that go into later layers of the language model (DeepStack), of each layer and image.
    """

    output: Any
    images: Sequence[Tensor]
    layers: Sequence[Sequence[Tensor]] = ()

    @classmethod
    def of(cls, output: Any, tokens_per_image: int | None = None) -> Features:
        """Take `output` apart; `tokens_per_image` where its parts may have several images joined."""
        pooled = output.pooler_output
        parts = [pooled] if isinstance(pooled, Tensor) and pooled.dim() == 2 else list(pooled)
        if tokens_per_image is not None:
            parts = [image for part in parts if len(part) for image in part.split(tokens_per_image)]
        return cls(output, parts, deepstack(output, [len(image) for image in parts]))

    @property
    def counts(self) -> list[int]:
        """How many tokens each image has."""
        return [len(image) for image in self.images]

    def observed(self, which: Sequence[int]) -> Tensor:
        """The vectors `[image token dim]` of some images that have equally many."""
        return torch.stack([self.images[index] for index in which])

    def read(self, which: Sequence[int]) -> Tensor:
        """The same: the language model reads them as they are."""
        return self.observed(which)

    def put(self, arguments: dict[str, Any], groups: Sequence[Group]) -> dict[str, Any]:
        """The arguments of the call as they are: the model will ask for the features once more."""
        return arguments

    def kept(self, groups: Sequence[Group]) -> Features:
        """The features that stay."""
        index = by_image(groups, [group.index() for group in groups])
        images = list(self.images)
        for group in groups:
            if group.tokens is not None:
                for image, tokens in zip(group.images, group.tokens, strict=True):
                    images[image] = tokens
        layers = [_taken(layer, index) for layer in self.layers]
        return replace(self, images=_taken(images, index), layers=layers)

    def ordered(self, order: Sequence[int]) -> Features:
        """The features with images number `order`, some of them more than once."""
        layers = [[layer[index] for index in order] for layer in self.layers]
        return replace(self, images=[self.images[index] for index in order], layers=layers)

    def rebuilt(self) -> Any:
        """An output with these images in the form that the model expects.

        Models put features one after the other, so images of different numbers fit in one tensor `[token 1 dim]`, which
        `generate` can still take apart for beams.
        """
        pooled, images = self.output.pooler_output, self.images
        built: Any = list(images)
        if isinstance(pooled, tuple):
            built = tuple(images)
        elif isinstance(pooled, Tensor):
            if pooled.dim() == 2:
                built = torch.cat(built)
            elif len({len(image) for image in images}) == 1:
                built = torch.stack(built)
            else:
                built = torch.cat(built)[:, None]
        output = copy.copy(self.output)
        output.pooler_output = built
        return with_deepstack(output, self.layers)

    def again(self) -> Any:
        """The output as it came; a copy, for `generate` writes into it."""
        return copy.copy(self.output)


def _taken(vectors: Sequence[Tensor], index: Sequence[Tensor]) -> list[Tensor]:
    return [image[which.to(image.device)] for image, which in zip(vectors, index, strict=True)]
