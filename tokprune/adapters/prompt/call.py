"""State of one call of a model whose prompt is shortened before its language model reads it."""

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
from tokprune.adapters.sizes import Sizes


@dataclass(kw_only=True)
class PromptCall(Observation):
    """One call with images."""

    generating: bool = False
    input_ids: Tensor | None = None
    mask: Tensor | None = None
    """The attention mask, or what stands for none, `[row sequence]`."""
    placeholders: Tensor | None = None
    """bool `[row sequence]`: where the image tokens go; None until a model has built the prompt itself."""
    counts: HostCopy | None = None
    """Placeholders of each row; and padding in front of it, where that is put there anew, `[1 or 2 row]`."""
    encoded: int | None = None
    """How many images came, or how long the first dimension of what carries them is."""
    features: Features | None = None
    """What the model made of the images, where it is asked for that beforehand."""
    kept: Features | None = None
    """The features that stay; None if all of them do."""
    rows_of_images: list[int] | None = None
    """The row of each image."""
    places: Sequence[Tensor] | None = None
    """Of which encoder tokens each image's tokens are made, once it was asked for."""
    rows: Rows | None = None
    """Which positions of the prompt stay; None if none left."""
    asked: Asked | None = None
    """What the caller asked of the answer; None where its logits are not those of the prompt."""
    shown: Rows | None = None
    """What stands for all of the prompt in the answer; None if all do for themselves."""
    whole: Mapping[str, Any] | None = None
    """The arguments of the prompt as it came, once it has been shortened."""
    videos: bool = False
    """Videos are being encoded, which some models do as if they were images."""
    gapped: bool = False
    """Position ids with gaps are in use."""
    sizes: Sizes | None = None
    """How many tokens each column of the shorter prompt stands for, where that counts in attention."""
    bias_positions: Tensor | None = None
    """Positions `[row kept]` for a relative position bias, while they differ from 0, 1, 2, ..."""
    noted: bool = False
    """What stays is remembered with the cache."""
