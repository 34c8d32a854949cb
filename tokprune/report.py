"""Report: what one pruned call did."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Report:
    """What the last pruned call kept and why.

    Attributes:
        kept: bool `[image token]`, True for target tokens that stayed.
        scores: float `[image token]`, the score that decided.
        length_before: sequence length that would have entered the language model.
        length_after: sequence length that did.
        sizes: how many original tokens each target token stands for after merging `[image token]`, or None.
        backend: which implementation counted the votes.
    """

    kept: Tensor
    scores: Tensor
    length_before: int
    length_after: int
    sizes: Tensor | None = None
    backend: str = "reference"

    @property
    def counts(self) -> Tensor:
        """How many target tokens stayed, int `[image]`."""
        return self.kept.sum(dim=1)

    def __repr__(self) -> str:
        low, high = int(self.counts.min()), int(self.counts.max())
        kept = str(low) if low == high else f"{low} to {high}"
        return (
            f"Report({self.kept.shape[0]} images, kept {kept} of {self.kept.shape[1]} tokens each, "
            f"sequence {self.length_before} -> {self.length_after}, backend {self.backend!r})"
        )
