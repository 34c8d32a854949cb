"""One encoding of images or sound: what is observed on the way to its output, and the signal made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.calls import Observation
from tokprune.adapters.capture import Capture
from tokprune.adapters.crossing.family import CrossFamily
from tokprune.adapters.crossing.tilevotes import Tiles
from tokprune.adapters.outercall import named_arguments
from tokprune.adapters.sources import AttentionSource, vector_sources
from tokprune.adapters.wording import at_target
from tokprune.interfaces import Cut
from tokprune.layers import LayerVotes, layer_indices
from tokprune.signal import ENCODER_VECTORS, Signal
from tokprune.votes import AttentionVotes

_ATTENTION = ("encoder_attention", "self_attention")


@dataclass(kw_only=True)
class Encoded(Observation):
    """One call of an encoder, and of whoever reads its output."""

    grid: tuple[int, int] | None = None
    tiles: Tensor | None = None
    """Which tiles are no padding, bool `[image tile]`, where the encoder's attention is among the tiles of an image."""


def encoder_sources(family: CrossFamily, cut: Cut) -> list[AttentionSource]:
    """The encoder's layers that a policy asks for; both names mean the same attention."""
    found = [
        replace(family.attention[index], signal=name, protected=0 if family.tiles else family.protected)
        for name in _ATTENTION
        if name in cut.needs
        for index in layer_indices(cut.needs[name], len(family.attention))
    ]
    return [*found, *vector_sources(family.attention[-1:], cut)]


def note_images(
    call: Encoded, family: CrossFamily, encoder: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    """Note in `call` what the arguments of the encoder say of its images."""
    call.grid = grid_of(family, args, kwargs)
    if family.tiles is not None:
        real = named_arguments(encoder.forward, args, kwargs)[family.tiles]
        call.tiles = real.reshape(-1, real.shape[-1]).bool()


def grid_of(family: CrossFamily, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns of the tokens of the pixels that enter an encoder."""
    if family.patch_size is None:
        return None
    images = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.dim() >= 4]
    if not images:
        return None
    rows, columns = images[0].shape[-2:]
    return rows // family.patch_size, columns // family.patch_size


def signal_of(
    family: CrossFamily, cut: Cut, capture: Capture, call: Encoded, tokens: Tensor, **observed: Any
) -> Signal:
    """What was observed about `tokens` `[image token dim]`, without the protected ones; `observed` are more signals."""
    found: dict[str, Any] = {}
    for name in _ATTENTION:
        if name in cut.needs:
            found[name] = votes = capture.layer_votes(call, name, range(len(family.attention)))
            if call.tiles is not None:
                tiles = Tiles(tokens.shape[1] + family.protected, call.tiles)
                about = {layer: tiles.votes(call.votes[name][layer], family.protected) for layer in call.votes[name]}
                found[name] = LayerVotes(about, len(votes), name)
            else:
                seen = {layer: _for_copies(each, tokens.shape[0]) for layer, each in call.votes[name].items()}
                found[name] = LayerVotes(seen, len(votes), name)
    for name in ENCODER_VECTORS[1:]:
        if name in cut.needs:
            states = capture.vectors_of(call, name)[:, family.protected :]
            observed[name] = states.repeat_interleave(tokens.shape[0] // states.shape[0], dim=0)
    if "encoder_features" in cut.needs:
        observed["encoder_features"] = tokens.detach()
    if "tokens" in cut.needs:
        observed["tokens"] = tokens.detach()
    if "grid" in cut.needs:
        observed["grid"] = call.grid
    return Signal(
        **found,
        **observed,
        shape=(tokens.shape[0], tokens.shape[1]),
        source=at_target(family.name, cut),
    )


def _for_copies(votes: AttentionVotes, images: int) -> AttentionVotes:
    """Votes of an encoder that ran before `generate` copied what it gave, image by image, for beams or samples."""
    copies = images // votes.shape[0]
    if copies <= 1:
        return votes
    query, key = (each.repeat_interleave(copies, dim=0) for each in (votes.query, votes.key))
    return AttentionVotes(
        query, key, votes.scale, votes.mask, candidates=votes.candidates, layer=votes.layer, protected=votes.protected
    )
