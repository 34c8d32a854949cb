"""Best first: an order of tokens in which the first of several equals is the one that should win."""

from __future__ import annotations

from torch import Tensor

from tokprune import InvalidValueError


def best_first(where: str, scores: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The order of falling scores, lower index first among equals, and the tokens in that order.

    A greedy rule that works on tokens in this order and takes the first of several equals breaks ties by score and then
    by index. And where scores differ, it does the same arithmetic wherever the tokens stood.

    Args:
        where: who asks, for the message.
        scores: `[batch token]`.
        tokens: `[batch token dim]`.

    Returns:
        Indices `[batch token]` and tokens `[batch token dim]`.

    Raises:
        InvalidValueError: the shapes do not fit each other.

    Example:
        >>> import torch
        >>> order, _ = best_first("here", torch.tensor([[0.2, 0.5, 0.5]]), torch.zeros(1, 3, 2))
        >>> order
        tensor([[1, 2, 0]])
    """
    if scores.dim() != 2 or tokens.dim() != 3 or tokens.shape[:2] != scores.shape:
        raise InvalidValueError(
            f"{where}: scores must be [batch token] and tokens [batch token dim] of the same tokens, got "
            f"{tuple(scores.shape)} and {tuple(tokens.shape)}; give the scores of just these tokens"
        )
    order = scores.detach().sort(dim=1, descending=True, stable=True).indices
    return order, tokens.detach().gather(1, order[:, :, None].expand(-1, -1, tokens.shape[2]))
