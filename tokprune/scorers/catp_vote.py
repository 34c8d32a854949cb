"""CATP voting: image tokens rank the query tokens by cross-attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tokprune.layers import Layers, check_layers, pick_layers
from tokprune.scorers.ballots import check_choice
from tokprune.signal import Signal
from tokprune.votes import Votes


@dataclass(frozen=True)
class CatpVote:
    """Image tokens rank the query tokens by cross-attention (CATP).

    Per cross-attention layer and head, every image token ranks the query tokens by attention probability along the
    query axis and gives 0 .. Q-1 points (the default aggregator `borda`). A token that many image tokens look like
    being watched by stays.

    Args:
        layers: "all" (the paper's voting across heads and layers), "first", "last" (the authors' released code), or
            layer indices, counted among the cross-attention layers.
        order: "rank-then-sum" ranks within each layer and adds the points; "sum-then-rank" adds the probabilities
            of the layers and ranks once. On random maps the two keep different sets nearly always.

    Source: CATP (Cross-Attention Token Pruning), arXiv 2404.08567, section 3. Another paper shortens its name to CATP
    too (Contextually Adaptive Token Pruning); this is not that one.

    Example:
        >>> CatpVote(layers="first")
        CatpVote(layers='first', order='rank-then-sum')
    """

    layers: Layers = "all"
    order: Literal["rank-then-sum", "sum-then-rank"] = "rank-then-sum"

    needs: ClassVar[tuple[str, ...]] = ("cross_attention",)
    aggregator: ClassVar[str] = "borda"

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", check_layers("catp-vote", self.layers))
        check_choice("catp-vote", "order", self.order, ("rank-then-sum", "sum-then-rank"))

    @property
    def layers_read(self) -> Mapping[str, Layers]:
        """Which layers to capture."""
        return {"cross_attention": self.layers}

    def __call__(self, signal: Signal) -> Iterator[Votes]:
        """Yield one `Votes` per chosen layer (a single one with "sum-then-rank")."""
        layers = pick_layers(signal.cross_attention, self.layers)
        if self.order == "rank-then-sum":
            yield from layers
            return
        first = next(layers)
        total = first.values.float()
        for votes in layers:
            total = total + votes.values.float()
        yield Votes(total, first.weights, heads=first.heads)
