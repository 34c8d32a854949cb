"""What the seam of models whose decoder cross-attends to an encoder has to know, and where such layers are."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.modules import module_at
from tokprune.adapters.shape import unknown_shape
from tokprune.adapters.sources import AttentionSource
from tokprune.adapters.upstream import CROSSED, CROSSED_MASKS
from tokprune.signal import ENCODER_VECTORS, SignalName


@dataclass(frozen=True, eq=False)
class Crossing:
    """One cross-attention layer of a decoder.

    Args:
        module: path of the module whose call computes it.
        states: its keyword argument with the vectors that become keys and values `[row token dim]`.
        mask: its keyword argument with the mask, additive or bool, `[row 1 text token]`.
        source: where its queries and keys come from.
    """

    module: str
    states: str
    mask: str
    source: AttentionSource


@dataclass(frozen=True, eq=False)
class CrossFamily:
    """A model that encodes an image (or sound), and a decoder whose cross-attention layers read what was encoded.

    Args:
        name: name of the adapter, for messages.
        encoder: path of the module whose call encodes; its output are the tokens `[image token dim]`.
        decoder: path of the module whose call runs once through all cross-attention layers.
        crossings: those layers, in order.
        attention: self-attention of the encoder's layers, in order; empty where it is not about the tokens.
        protected: how many tokens at the front ([CLS], registers) always stay and are never scored.
        patch_size: pixels per token along a side, or None if tokens stand in no grid.
        given: arguments of the model that bring tokens which were encoded earlier.
        images: argument of the decoder whose last dimension counts the images of a row, where their tokens come in one
            sequence; None where each image comes apart.
        tiles: argument of the encoder that says which tiles of each image are no padding, where its attention is among
            all tiles of an image; None where it is not.
        gate: argument of the decoder that says which text tokens see any image, or None.
        once: whether the tokens come with the images alone, and later steps read the cache.
        masked: whether the decoder gets masks of full width, so that they have to be shortened with the tokens.
        caches: whether a generation caches keys and values of these cross-attentions.
        refused: argument of `generate` -> why it cannot be had together with a cut.
    """

    name: str
    encoder: str
    decoder: str
    crossings: Sequence[Crossing]
    attention: Sequence[AttentionSource] = ()
    protected: int = 0
    patch_size: int | None = None
    given: Sequence[str] = ("encoder_outputs",)
    images: str | None = None
    tiles: str | None = None
    gate: str | None = None
    once: bool = False
    masked: bool = False
    caches: bool = True
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def signals(self) -> tuple[str, ...]:
        """What can be observed of the target tokens: at the encoder's output, or in the decoder."""
        names = ["tokens"]
        if len(self.crossings) > 1:  # behind the only one there is nothing left to shorten
            names.append(SignalName("cross_attention", voters="text"))
        if self.attention:
            names += ["encoder_attention", "self_attention"]
            names += [] if self.tiles else ENCODER_VECTORS
        return (*names, "grid") if self.patch_size is not None else tuple(names)


def find_crossings(model: nn.Module, decoder: str) -> list[Crossing]:
    """The cross-attention layers of a decoder, found by the names that transformers gives their parts and arguments.

    Raises:
        AdapterError: there are none that are known.
    """
    found = []
    for source in find_attention(model, decoder, "cross_attention", crossing=True):
        module = module_at(model, str(source.attention))
        taken = inspect.signature(module.forward).parameters
        states = next((name for name in CROSSED if name in taken), None)
        mask = next((name for name in CROSSED_MASKS if name in taken), None)
        if states is None or mask is None:
            absent = " or ".join(map(repr, CROSSED if states is None else CROSSED_MASKS))
            where = f"the cross-attention at {source.attention!r}"
            raise unknown_shape(model, where, f"{type(module).__name__}.forward takes no {absent}")
        found.append(Crossing(str(source.attention), states, mask, source))
    return found


def cached_layers(family: CrossFamily, attentions: Sequence[nn.Module]) -> list[int] | None:
    """Which layers of a generation's cache hold what `attentions` read; None where that is not cached."""
    numbers = [getattr(attention, "layer_idx", None) for attention in attentions]
    if not family.caches or None in numbers:
        return None
    return [int(number) for number in numbers if number is not None]
