"""What the layer seam has to know about an image encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tokprune.adapters.sources import AttentionSource
from tokprune.after import After


@dataclass(frozen=True, eq=False)
class EncoderFamily:
    """A transformer encoder of image tokens whose layers take any number of them and need no mask.

    Args:
        name: name of the adapter, for messages.
        encoder: path of the module whose call is one encoding; its first argument are the pixels
            `[image channel row column]`. "" if that is the model itself.
        layers: paths of its layers, in order; each returns the tokens `[image token dim]`, alone or first in a tuple.
        attention: where the queries and keys of each layer come from.
        protected: how many tokens at the front ([CLS], registers) always stay and are never scored.
        patch_size: pixels per image token along a side.
        reader: path of the module that reads the encoder's output; or that gives it, where whoever reads it takes only
            one token of it.
        after: where to cut if the policy does not say.
        sentinel: path of a module outside of the encoder that is called along with it, if `reader` lies inside: it
            notices that the encoder was replaced. "" for the model itself.
    """

    name: str
    encoder: str
    layers: Sequence[str]
    attention: Sequence[AttentionSource]
    protected: int
    patch_size: int
    reader: str
    after: After = 1 / 3
    sentinel: str | None = None

    def grid(self, encoder: nn.Module, images: Tensor) -> tuple[int, int]:
        """Rows and columns of the image tokens of `images` `[image channel row column]`."""
        return images.shape[2] // self.patch_size, images.shape[3] // self.patch_size
