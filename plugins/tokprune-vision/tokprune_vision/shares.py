"""How many of the kept tokens are contextual: one rule, which the selector and the reduction both count by."""

from __future__ import annotations

from torch import Tensor

from tokprune import InvalidValueError

PAPER = 0.15625
"""The share in the paper's settings: 10 of 64, 20 of 128 and 30 of 192 kept tokens are contextual, all of them 5/32."""

_ONE = 1_000_000  # shares are counted in whole millionths, so that Python and every device round alike


def check_share(where: str, share: object) -> float:
    """Return `share` as a float between 0 and 1, or raise `InvalidValueError`.

    Example:
        >>> check_share("visionzip", 0.25)
        0.25
    """
    if not isinstance(share, float) or not 1 / _ONE <= share <= 1 - 1 / _ONE:
        raise InvalidValueError(
            f"{where}: contextual is the share of the kept tokens that are contextual, a float between 0 and 1; got "
            f"{share!r}. Give {PAPER} for the paper's 10 of 64, or a number of tokens divided by how many are kept"
        )
    return share


def contextual_count(kept: int, share: float) -> int:
    """How many of `kept` tokens are contextual: the nearest whole number, and at least one of either kind.

    Where a single token is kept it counts as contextual: what is dropped has nowhere else to go.

    Example:
        >>> [contextual_count(kept, PAPER) for kept in (1, 2, 8, 64, 128, 192)]
        [1, 1, 1, 10, 20, 30]
    """
    return min(max((round(share * _ONE) * kept + _ONE // 2) // _ONE, 1), max(kept - 1, 1))


def contextual_counts(kept: Tensor, share: float) -> Tensor:
    """`contextual_count` of every row, int64 `[batch]`, without waiting for the device.

    Example:
        >>> import torch
        >>> contextual_counts(torch.tensor([1, 8, 64]), PAPER)
        tensor([ 1,  1, 10])
    """
    wanted = (round(share * _ONE) * kept.long() + _ONE // 2) // _ONE
    return wanted.clamp(min=1).minimum((kept - 1).clamp(min=1))
