"""[CLS] attention: an image token matters if the encoder's summary of the image looks at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from tokprune import Signal, Votes
from tokprune.layers import Layers, check_layers, pick_layers


def cls_votes(votes: Votes) -> Votes:
    """The votes of [CLS] alone, one per head; of all tokens in an encoder without one.

    [CLS] is the first of the protected tokens. Nothing is computed: lazy votes stay lazy.

    Args:
        votes: one layer of the encoder's attention.

    Example:
        >>> import torch
        >>> from tokprune import AttentionVotes
        >>> query = key = torch.zeros(1, 2, 5, 8)  # two heads, [CLS] and four image tokens
        >>> cls_votes(AttentionVotes(query, key, 1.0, candidates="key", protected=1)).shape
        (1, 2, 4)
        >>> cls_votes(AttentionVotes(query, key, 1.0, candidates="key")).shape  # no [CLS]: five image tokens
        (1, 10, 5)
    """
    return votes.of_voters(0, 1) if votes.protected else votes


@dataclass(frozen=True)
class ClsAttention:
    """Attention that an image token gets from [CLS], summed over heads; from all tokens if there is no [CLS].

    Formula: `score[t] = sum over heads h of A[h, CLS, t]`, with A the attention probabilities of an encoder layer. A
    mean over the heads, as in the papers, ranks the same. Without a [CLS] `score[t] = sum over h, s of A[h, s, t]`,
    which is what the scorer `received-attention` gives.

    The papers prune for LLaVA, whose language model reads the output of the encoder's last layer but one, and take the
    attention of that same layer. So the layer meant is the last that was run before the tokens leave, which is what
    "last" says here for a cut at any depth.

    Args:
        layers: "all", "first", "last" or layer indices; several are summed.

    Source: FasterVLM, arXiv 2412.01818 (first version), its [CLS] attention; without a [CLS], VisionZip, arXiv
    2412.04467, section 3.2.

    Example:
        >>> ClsAttention()
        ClsAttention(layers='last')
    """

    layers: Layers = "last"

    needs: ClassVar[tuple[str, ...]] = ("encoder_attention",)
    targets: ClassVar[tuple[str, ...]] = ("image",)
    aggregator: ClassVar[str] = "sum"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", check_layers("cls-attention", self.layers))

    @property
    def layers_read(self) -> Mapping[str, Layers]:
        """Which layers to capture."""
        return {"encoder_attention": self.layers}

    def __call__(self, signal: Signal) -> Iterator[Votes]:
        """Yield, per chosen layer, the votes of [CLS]."""
        for votes in pick_layers(signal.encoder_attention, self.layers):
            yield cls_votes(votes)
