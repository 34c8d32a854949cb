"""What output pruning has to know about an encoder, and about the model around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tokprune.adapters.sources import AttentionSource
from tokprune.after import After, layers_before


@dataclass(frozen=True, eq=False)
class EncoderFamily:
    """A transformer encoder of image tokens (or of sound) whose layers take any number of them and need no mask.

    Args:
        name: name of the adapter, for messages.
        encoder: path of the module whose call is one encoding; its first argument are the pixels
            `[image channel row column]`. "" if that is the model itself.
        layers: paths of its layers, in order; each returns the tokens `[image token dim]`, alone or first in a tuple.
        attention: where the queries and keys of each layer come from; empty where it is not about the tokens.
        protected: how many tokens at the front ([CLS], registers) always stay and are never scored.
        patch_size: pixels per image token along a side; None if tokens stand in no grid.
        reader: path of the module that reads the encoder's output; or that gives it, where its reader takes only one
            token of it.
        after: after which layers tokens leave if the policy does not say; None: at the encoder's output.
        sentinel: path of a module outside of the encoder that is called along with it, if `reader` lies inside: it
            notices that the encoder was replaced. "" for the model itself.
        masked: whether the encoder hides tokens by the `attention_mask` that it is given.
        crossed: paths of the attention modules, outside of the layers, whose keys are made of the encoder's output.
    """

    name: str
    encoder: str
    layers: Sequence[str]
    attention: Sequence[AttentionSource]
    protected: int
    patch_size: int | None
    reader: str
    after: After | None = 1 / 3
    sentinel: str | None = None
    masked: bool = True
    crossed: Sequence[str] = ()

    def places(self, after: After | None) -> tuple[int, ...]:
        """How many layers run before tokens leave, each time; `after` is the policy's."""
        after = self.after if after is None else after
        return (len(self.layers),) if after is None else layers_before(after, len(self.layers))

    def grid(self, encoder: nn.Module, images: Tensor) -> tuple[int, int] | None:
        """Rows and columns of the image tokens of `images` `[image channel row column]`."""
        if self.patch_size is None:
            return None
        rows, columns = images.shape[-2:]
        return rows // self.patch_size, columns // self.patch_size


@dataclass(frozen=True, eq=False)
class HeadFamily:
    """A model whose query tokens go from a Q-Former straight into heads.

    Args:
        name: name of the adapter, for messages.
        sources: signal -> all its attention layers, in order.
        reads: path of the module that makes the query tokens: it reads an image when it is first called, and a text
            later, or never.
        heads: paths of the modules that take query tokens `[image token dim]`; which of them runs is up to the call.
        tokens: number of query tokens of each image; what comes after them is no target.
    """

    name: str
    sources: Mapping[str, Sequence[AttentionSource]]
    reads: str
    heads: Sequence[str]
    tokens: int
