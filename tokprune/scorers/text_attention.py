"""Text attention: an image token matters if the prompt looks at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tokprune.errors import SignalError
from tokprune.layers import Layers, check_layers, pick_layers
from tokprune.scorers.ballots import check_choice
from tokprune.signal import Signal
from tokprune.votes import AttentionVotes, Votes


@dataclass(frozen=True)
class TextAttention:
    """Attention that an image token receives from the prompt's last token inside the language model, over all heads.

    For a target that is cut inside a language model or a decoder the voters are the tokens of the text, and the layers
    those in front of the cut; "last" is the one that was just run. Where tokens of the image vote instead, as in
    Idefics2's resampler, there is no text to ask: that is a `SignalError`.

    Args:
        voters: "last" (the prompt's last token, from which the answer begins) or "all" (every token of the text).
        layers: "all", "first", "last" or layer indices.

    Source: FastV, arXiv 2403.06764, section 4: tokens are ranked behind layer K by the attention they receive. Its
    released code takes the last token's row of layer K's attention, averaged over heads, which is the default here.
    The text is reported to average over all other tokens; it could not be read itself for this. "all" is not quite
    that: image tokens do not vote.

    Example:
        >>> TextAttention()
        TextAttention(voters='last', layers='last')
    """

    voters: Literal["last", "all"] = "last"
    layers: Layers = "last"

    needs: ClassVar[tuple[str, ...]] = ("cross_attention",)
    voted_by: ClassVar[Mapping[str, str]] = {"cross_attention": "text"}
    aggregator: ClassVar[str] = "sum"

    def __post_init__(self) -> None:
        check_choice("text-attention", "voters", self.voters, ("last", "all"))
        object.__setattr__(self, "layers", check_layers("text-attention", self.layers))

    @property
    def layers_read(self) -> Mapping[str, Layers]:
        """Which layers to capture."""
        return {"cross_attention": self.layers}

    def __call__(self, signal: Signal) -> Iterator[Votes]:
        """Yield the text's attention in each chosen layer as votes."""
        for votes in pick_layers(signal.cross_attention, self.layers):
            if isinstance(votes, AttentionVotes) and votes.candidates == "query":
                raise SignalError(
                    f"text-attention: in {signal.source} the voters of 'cross_attention' are tokens of the image, not "
                    "of a text; 'catp-vote' counts their votes"
                )
            others = votes.shape[1] // votes.heads
            yield votes if self.voters == "all" else votes.of_voters(others - 1, others)
