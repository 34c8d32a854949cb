"""A scorer that keeps what a test tells it to."""

from dataclasses import dataclass
from typing import ClassVar

import torch

import tokprune


@dataclass(frozen=True, eq=False)
class Keep:
    """Votes 1 for the tokens of `kept` (bool `[image token]`) and 0 for the others.

    Where images have different numbers of tokens, `tokens` says how many: only images with equally many come together.
    """

    kept: torch.Tensor
    tokens: tuple[int, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ()
    aggregator: ClassVar[str] = "sum"

    def __call__(self, signal):
        rows = [image for image, total in enumerate(self.tokens) if total == signal.token_count]
        kept = self.kept[rows, : signal.token_count] if rows else self.kept
        kept = kept.repeat_interleave(signal.batch // len(kept), dim=0)  # for samples or beams, in some models
        yield tokprune.Votes(kept.float()[:, None, :])


def keeping(kept, tokens=(), **options):
    """Arguments of `tokprune.apply` that keep exactly `kept`, whether or not its rows keep equally many."""
    return {"scorer": Keep(kept, tokens), "selector": _Chosen(), "keep": 0.5, **options}


@dataclass(frozen=True)
class _Chosen:
    uniform: ClassVar[bool] = False

    def __call__(self, scores, keep):
        return scores > 0


QUERY_SCORERS = (
    "catp-vote",
    "catp-weighted",
    "focus",
    "self-attention",
    "l2-norm",
    "distinct",
    "random",
    "first",
    "stride",
)
"""The scorers that work on query tokens."""
IMAGE_SCORERS = ("received-attention", "self-attention", "l2-norm", "distinct", "random", "first", "stride")
"""The scorers that work on image tokens inside an encoder."""
