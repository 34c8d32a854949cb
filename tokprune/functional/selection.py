"""From scores to kept tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from tokprune.functional.sums import wide_dtype
from tokprune.keep import Keep, check_keep, keep_count
from tokprune.shapes import check_dims


def top_k(scores: Tensor, keep: Keep) -> Tensor:
    """Keep the tokens with the highest scores, the same number in every row; among equals the lower index wins.

    Args:
        scores: `[batch token]`.
        keep: keep ratio (float in (0, 1], rounded up) or keep count (int >= 1).

    Returns:
        bool `[batch token]`, True for kept tokens. The count is known beforehand, so nothing waits for the device.

    Raises:
        InvalidValueError: `keep` is not a keep, or larger than the number of tokens.

    Example:
        >>> top_k(torch.tensor([[0.3, 0.9, 0.3, 0.1]]), keep=0.5)
        tensor([[ True,  True, False, False]])
    """
    check_dims("top_k", "scores", scores, "batch token")
    count = keep_count(keep, scores.shape[1])
    # torch.topk leaves the order of equals open; a stable descending sort does not.
    best = scores.detach().sort(dim=-1, descending=True, stable=True).indices[:, :count]
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, best, torch.ones_like(best, dtype=torch.bool))


def kept_index(kept: Tensor, count: int) -> Tensor:
    """Where the kept tokens are, if every row keeps `count` of them: what a gather wants to know.

    Args:
        kept: bool `[batch token]`.
        count: number of True values in each row; it comes from outside, so nothing waits for the device.

    Returns:
        int64 `[batch count]`, the indices of the True values in rising order. A row with fewer goes on with the first
        of its dropped tokens.

    Raises:
        InvalidValueError: `kept` has another shape.

    Example:
        >>> kept_index(torch.tensor([[True, False, True], [False, True, True]]), 2)
        tensor([[0, 2],
                [1, 2]])
    """
    check_dims("kept_index", "kept", kept, "batch token")
    return (~kept).to(torch.uint8).sort(dim=1, stable=True).indices[:, :count]


def top_p(scores: Tensor, keep: Keep) -> Tensor:
    """Keep the smallest set of best tokens that holds the share `keep` of all scores: a different count per row.

    Formula: with scores sorted downwards, the smallest k with `sum of the k best >= keep * sum of all`. Where all
    scores are equal this keeps as many tokens as `top_k`; the more unequal they are, the fewer. It never keeps more
    than `top_k` does. Scores below zero are first shifted up by the row's lowest score.

    Args:
        scores: `[batch token]`.
        keep: the share (a float in (0, 1]); an int count k stands for the share `k / token`.

    Returns:
        bool `[batch token]`, True for kept tokens; at least one per row, all of them for a share of 1.

    Raises:
        InvalidValueError: `keep` is not a keep, or larger than the number of tokens.

    Source: nucleus sampling's smallest set, arXiv 1904.09751, section 3.1, on scores in place of probabilities.

    Example:
        >>> top_p(torch.tensor([[6.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]), keep=0.5)
        tensor([[ True, False, False, False],
                [ True,  True, False, False]])
    """
    check_dims("top_p", "scores", scores, "batch token")
    total = scores.shape[1]
    ceiling = keep_count(keep, total)
    keep = check_keep(keep)
    share = keep / total if isinstance(keep, int) else keep
    values = scores.detach().to(wide_dtype(scores))
    values = values - values.amin(dim=-1, keepdim=True).clamp(max=0)
    values = torch.where(values.sum(dim=-1, keepdim=True) > 0, values, torch.ones_like(values))
    ordered, order = values.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered  # what the better tokens hold already
    wanted = share * ordered.sum(dim=-1, keepdim=True)
    position = torch.arange(total, device=scores.device)
    # The tolerance stops rounding in the sum from keeping one token more; the ceiling is exact.
    chosen = ((before < wanted * (1 - 1e-12)) & (position < ceiling)) | (position == 0)
    if ceiling == total and share == 1.0:
        chosen = torch.ones_like(chosen)  # keep=1.0 keeps all, also tokens with a score of zero
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order, chosen)
