"""What `get_image_features` returned, image by image; and the same thing again with fewer tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tokprune.adapters.upstream import deepstack, with_deepstack
from tokprune.functional import kept_index


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

    def kept(self, images: Sequence[Tensor], kept: Sequence[Tensor], counts: Sequence[int]) -> Features:
        """The features with these images, and in later layers the tokens that are `kept` (bool `[token]`) of each."""
        index = [kept_index(row[None], count)[0] for row, count in zip(kept, counts, strict=True)]
        layers = [
            [image[which.to(image.device)] for image, which in zip(layer, index, strict=True)] for layer in self.layers
        ]
        return replace(self, images=images, layers=layers)

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
