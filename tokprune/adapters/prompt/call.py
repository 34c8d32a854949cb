"""State of one call of a model that merges image features into its prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tokprune.adapters.answers import Asked
from tokprune.adapters.calls import Observation
from tokprune.adapters.hostcopy import HostCopy
from tokprune.adapters.prompt.features import Features
from tokprune.adapters.rows import Rows


@dataclass(kw_only=True)
class ImageCall(Observation):
    """One call whose prompt is cut before the model sees it."""

    generating: bool
    input_ids: Tensor
    mask: Tensor
    """The attention mask, or what stands for none, `[row sequence]`."""
    placeholders: Tensor
    """bool `[row sequence]`: where the image tokens go."""
    counts: HostCopy
    """Placeholders of each row, and padding in front of it, `[2 row]`."""
    encoded: int
    """How long the first dimension of the images is, as the user gave them."""
    features: Features | None = None
    rows_of_images: list[int] | None = None
    """The row of each image."""
    places: Sequence[Tensor] | None = None
    """Of which encoder tokens each image's tokens are made, once it was asked for."""
    kept: Features | None = None
    """The features that stay; None if all of them do."""
    rows: Rows | None = None
    """Which positions of the prompt stay; None if none left."""
    asked: Asked | None = None
    """What the caller asked of the answer; None in a generation."""
    shown: Rows | None = None
    """What stands for all of the prompt in the answer; None if all do for themselves."""
    whole: Mapping[str, Any] | None = None
    """The arguments of the prompt as it came, once it has been shortened."""
    videos: bool = False
    """Videos are being encoded, which some models do as if they were images."""
    gapped: bool = False
    """Position ids with gaps are in use."""
