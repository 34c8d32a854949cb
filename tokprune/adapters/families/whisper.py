"""Whisper: frames of sound between its encoder and its decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from tokprune.adapters.attention import find_attention
from tokprune.adapters.crossing.family import CrossFamily, find_crossings
from tokprune.adapters.families.crossattention import CrossAttentionAdapter


@dataclass(frozen=True)
class Whisper(CrossAttentionAdapter):
    """Whisper: target "audio", the frames that its encoder gives.

    Signals: `tokens` (the encoder's output), `encoder_attention` and `self_attention` (frames vote for frames, layer by
    layer) and `cross_attention` (the text's tokens vote for frames). No frame is protected.

    Frames that were encoded earlier are refused in `generate`, which reads the length of the sound off them.
    Timestamps of words (`return_token_timestamps`) are refused: they are read off the cross-attention, whose columns no
    longer stand for moments. Timestamps of segments are tokens that the decoder writes, and go on working; long sound
    is cut segment by segment.
    """

    name: ClassVar[str] = "whisper"
    models: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "transformers.models.whisper.modeling_whisper": ("WhisperForConditionalGeneration",)
    }
    target: ClassVar[str] = "audio"
    default_scorers: ClassVar[Mapping[str, str]] = {"audio": "stride"}
    """Below 1/2 the best-scored frames of dense speech leave out whole words, whatever scores; every n-th frame hardly
    does: word error rates of tiny.en at 1/4 are 5.8 (`stride`), 33 (`catp-vote`), 38 (`received-attention`)."""

    def family(self, model: nn.Module) -> CrossFamily:
        """Where the parts of `model` are."""
        return CrossFamily(
            name=self.name,
            encoder="model.encoder",
            decoder="model.decoder",
            crossings=find_crossings(model, "model.decoder"),
            attention=find_attention(model, "model.encoder"),
            refused={
                "return_token_timestamps": "words are placed in time by the columns of the cross-attention, and those "
                "of dropped frames are gone; ask for segments (return_timestamps=True), or call handle.remove() first",
                "encoder_outputs": "how long the sound is would be read off the number of frames, of which some are "
                "gone; give input_features",
            },
        )
