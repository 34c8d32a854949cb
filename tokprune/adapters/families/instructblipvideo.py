"""InstructBLIP for videos: every frame is an image of its own, with query tokens of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tokprune.adapters.families.qformer import QFormerAdapter


@dataclass(frozen=True)
class InstructBlipVideo(QFormerAdapter):
    """InstructBLIP for videos, with Vicuna or Flan-T5: InstructBLIP's targets and signals, frame by frame.

    A signal counts frames as images, in the order of the videos: its batch is videos times frames. Every frame keeps
    its share of query tokens, so keep=8 of a video of four frames lets 32 tokens go on. All frames of a video read the
    same question. Signals: see `InstructBlip`.

    Refused: a call without a prompt for videos of other than four frames, for which the model itself builds a wrong
    one.
    """

    name: ClassVar[str] = "instructblip-video"
    module: ClassVar[str] = "transformers.models.instructblipvideo.modeling_instructblipvideo"
    models: ClassVar[tuple[str, ...]] = ("InstructBlipVideoForConditionalGeneration",)
    asks: ClassVar[bool] = True
