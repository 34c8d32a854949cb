"""VisionZip's choice: the best tokens, and some from all over the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from tokprune import InvalidValueError
from tokprune.functional import kept_index, top_k
from tokprune.keep import Keep, keep_count
from tokprune_vision.shares import PAPER, check_share, contextual_count

Spacing = Literal["even", "step"]


@dataclass(frozen=True)
class VisionZipSelection:
    """Dominant tokens, which have the highest scores, and contextual ones, evenly spaced among the rest.

    Formula: of K kept tokens C are contextual, `C = contextual * K` rounded, and at least one is of either kind; a
    single kept token is the one with the highest score. The K - C highest scores are dominant, the lower index wins
    ties. Of the M other tokens in their order, those at the places `floor(i * M / C)`, i = 0 .. C-1, are contextual.
    Kept tokens stay in their original order; the authors' code puts the contextual ones behind the dominant ones.

    With the reduction of the same name and the same option, dropped tokens are folded into the contextual ones. With
    "prune" they are lost.

    Args:
        contextual: share of the kept tokens that are contextual. The default is the paper's: 10 of 64, 20 of 128, 30
            of 192.
        spacing: "even" as above; "step" for the places `i * floor(M / C)` of the authors' code, which leave the end of
            the sequence out where C does not divide M.

    Source: VisionZip, arXiv 2412.04467, sections 3.2 and 3.3.

    Example:
        >>> scores = torch.tensor([[5.0, 1.0, 1.0, 9.0, 1.0, 1.0]])
        >>> VisionZipSelection(contextual=0.5)(scores, keep=4)  # 3 and 0 are dominant, 1 and 4 contextual
        tensor([[ True,  True, False,  True,  True, False]])
    """

    contextual: float = PAPER
    spacing: Spacing = "even"

    uniform: ClassVar[bool] = True
    by_position: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_share("selector 'visionzip'", self.contextual)
        if self.spacing not in get_args(Spacing):
            raise InvalidValueError(
                f"selector 'visionzip': spacing must be 'even' or 'step', got {self.spacing!r}; 'even' is the default"
            )

    def __call__(self, scores: Tensor, keep: Keep) -> Tensor:
        """Kept tokens, bool `[batch token]`."""
        tokens = scores.shape[1]
        count = keep_count(keep, tokens)
        contextual = contextual_count(count, self.contextual)
        dominant = top_k(scores, max(count - contextual, 1))
        if count == 1:
            return dominant
        others = tokens - count + contextual
        rest = kept_index(~dominant, others)
        places = torch.arange(contextual, device=scores.device)
        places = places * others // contextual if self.spacing == "even" else places * (others // contextual)
        return dominant.scatter(1, rest[:, places], True)
