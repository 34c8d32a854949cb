"""How many tokens each column of a shortened sequence stands for, and what its attention logits get for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tokprune.adapters.rows import Rows
from tokprune.adapters.tap import Seen


@dataclass(frozen=True, eq=False)
class Sizes:
    """The sizes of the tokens in a sequence that was shortened by merging.

    Proportional attention (ToMe, arXiv 2210.09461, section 3.2): log(size) is added to the logits of a token, so that
    it counts for as many tokens as it stands for.

    Attributes:
        sizes: float `[row sequence]`; 1 for what was not merged (text, protected tokens, padding).

    Example:
        >>> sizes = Sizes(torch.tensor([[1.0, 4.0]]))
        >>> seen = Seen(*(torch.zeros(1, 1, 3, 2) for _ in range(3)), None, 1.0)
        >>> sizes.logs(seen).exp()  # the third column came later
        tensor([[1., 4., 1.]])
    """

    sizes: Tensor

    @classmethod
    def among(cls, places: Tensor, sizes: Tensor) -> Sizes:
        """Of a sequence whose columns `places` (bool `[row sequence]`) hold tokens of `sizes`, in order; 1 elsewhere.

        Args:
            places: as many True as there are sizes.
            sizes: float `[size]`, row by row.
        """
        ones = torch.ones(places.shape, dtype=torch.float32, device=places.device)
        return cls(ones.masked_scatter(places, sizes.float().to(places.device)))

    @property
    def batch(self) -> int:
        """How many rows there are."""
        return self.sizes.shape[0]

    def picked(self, pick: Callable[[Tensor], Tensor]) -> Sizes:
        """The same of other rows, which `pick` takes from each tensor `[row ...]`."""
        return Sizes(pick(self.sizes))

    def taken(self, rows: Rows) -> Sizes:
        """The sizes of the columns that stay of this sequence; 1 where a row has fewer."""
        return Sizes(rows.take(self.sizes, 1.0))

    def logs(self, seen: Seen, total: int | None = None) -> Tensor:
        """What is added to the logits of each key `[row key]` in a call of an attention module.

        Columns that came after the sequence stand for one token each. Rows that are copies of a prompt, one beside the
        other, share its sizes.

        Args:
            seen: the call.
            total: how long the sequence is by now, where a cache may have dropped its oldest columns.
        """
        rows, keys = seen.key.shape[0], seen.key.shape[2]
        logs = self.sizes.log().to(seen.key.device)
        if rows != len(logs):
            logs = logs.repeat_interleave(rows // len(logs), dim=0)
        dropped = 0 if total is None else max(total - keys, 0)
        logs = logs[:, dropped : dropped + keys]
        return torch.nn.functional.pad(logs, (0, keys - logs.shape[1]))
