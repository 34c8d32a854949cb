"""What the seam of models whose decoder cross-attends to an encoder has to know, and where such layers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from tokprune.adapters.modules import module_at
from tokprune.adapters.sources import AttentionSource
from tokprune.errors import AdapterError
from tokprune.signal import SignalName


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
        return (*names, "grid") if self.patch_size is not None else tuple(names)


def find_crossings(model: nn.Module, decoder: str) -> list[Crossing]:
    """The cross-attention layers of a decoder, known by the names that transformers gives their parts.

    Raises:
        AdapterError: there are none that are known.
    """
    found: list[Crossing] = []
    for name, module in module_at(model, decoder).named_modules():
        path = f"{decoder}.{name}"
        parts = _parts(name, module)
        if parts is not None:
            states, mask, query, key = parts
            modules = ((f"{path}.{query[0]}", query[1]), (f"{path}.{key[0]}", key[1]))
            heads, scale = heads_and_scale(module)
            source = AttentionSource("cross_attention", len(found), modules, heads, scale, "key")
            found.append(Crossing(path, states, mask, source))
    if not found:
        raise AdapterError(
            f"{type(module_at(model, decoder)).__name__} at {decoder!r} has no cross-attention layers that are known "
            "here; expected ones as in GPT-2, BERT, BART, TrOCR or Whisper"
        )
    return found


def cached_layers(family: CrossFamily, attentions: Sequence[nn.Module]) -> list[int] | None:
    """Which layers of a generation's cache hold what `attentions` read; None where that is not cached."""
    numbers = [getattr(attention, "layer_idx", None) for attention in attentions]
    if not family.caches or None in numbers:
        return None
    return [int(number) for number in numbers if number is not None]


def heads_and_scale(attention: Any) -> tuple[int, float]:
    """Number of heads of an attention module, and the factor on its dot products."""
    heads = getattr(attention, "num_heads", None) or attention.num_attention_heads
    size = getattr(attention, "head_dim", None) or attention.attention_head_size
    scale = getattr(attention, "scaling", None)
    return int(heads), float(size**-0.5 if scale is None else scale)


def _parts(name: str, module: nn.Module) -> tuple[str, str, tuple[str, str], tuple[str, str]] | None:
    """Arguments for states and mask, and the projections of queries and keys; None if it is something else."""
    last = name.rpartition(".")[2]
    if last == "encoder_attn" and hasattr(module, "q_proj"):  # BART's children: MBart, TrOCR, Whisper
        return "key_value_states", "attention_mask", ("q_proj", "query"), ("k_proj", "key")
    if last == "crossattention" and hasattr(module, "q_attn"):  # GPT-2
        return "encoder_hidden_states", "encoder_attention_mask", ("q_attn", "query"), ("c_attn", "key value")
    if name.endswith("crossattention.self"):  # BERT and its children; BLIP's takes its mask under another name
        mask = "encoder_attention_mask" if hasattr(module, "save_attention_map") else "attention_mask"
        return "encoder_hidden_states", mask, ("query", "query"), ("key", "key")
    return None
