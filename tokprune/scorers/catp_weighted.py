"""Weighted image-token voting: CATP in which important image tokens count more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from tokprune.errors import InvalidValueError
from tokprune.layers import Layers, check_layers, pick_layers
from tokprune.scorers.ballots import check_choice
from tokprune.signal import Signal
from tokprune.votes import Votes


@dataclass(frozen=True)
class CatpWeighted:
    """CATP voting with each image token's ballot weighted by its importance in the image encoder.

    The importance of an image token is the attention it receives in the image encoder's last self-attention layer,
    summed over heads and queries. The weight multiplies the *points*, after ranking: the variant in the authors'
    public code scales a ballot before ranking it, which cannot change any rank and so does nothing.

    Args:
        layers: cross-attention layers that vote, as in `catp-vote`.
        weighting: "softmax" softmaxes the received attention over the image tokens (the paper's; with many heads and
            queries nearly all weight falls on few image tokens); "share" divides it by its sum.

    Source: CATP, arXiv 2404.08567, section 3 (weighted voting).

    Example:
        >>> CatpWeighted().needs
        ('cross_attention', 'encoder_attention')
    """

    layers: Layers = "all"
    weighting: Literal["softmax", "share"] = "softmax"

    needs: ClassVar[tuple[str, ...]] = ("cross_attention", "encoder_attention")
    voted_by: ClassVar[Mapping[str, str]] = {"cross_attention": "image"}  # the voters are weighed by the encoder
    aggregator: ClassVar[str] = "borda"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", check_layers("catp-weighted", self.layers))
        check_choice("catp-weighted", "weighting", self.weighting, ("softmax", "share"))

    @property
    def layers_read(self) -> Mapping[str, Layers]:
        """Which layers to capture."""
        return {"cross_attention": self.layers, "encoder_attention": "last"}

    def image_weights(self, signal: Signal) -> Tensor:
        """Weight of each image token `[batch image]`; each row sums to one."""
        received = signal.encoder_attention[-1].with_weights(None).total()
        if self.weighting == "softmax":
            return received.softmax(dim=-1)
        return received / received.sum(dim=-1, keepdim=True)

    def __call__(self, signal: Signal) -> Iterator[Votes]:
        """Yield one weighted `Votes` per chosen layer."""
        weights = self.image_weights(signal)
        for votes in pick_layers(signal.cross_attention, self.layers):
            voters = votes.shape[1] // votes.heads
            if voters != weights.shape[1]:
                raise InvalidValueError(
                    f"catp-weighted: {voters} image tokens vote, but the encoder's last attention, which weighs them, "
                    f"was among {weights.shape[1]}: image tokens left behind the encoder's last layer. Cut in front of "
                    "it (after), or use 'catp-vote'"
                )
            yield votes.with_weights(weights)
