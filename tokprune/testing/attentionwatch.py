"""Watches which attention a model computes, by whichever of torch's functions it does so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tokprune.functional import attention_probabilities

_FUSED = torch.nn.functional.scaled_dot_product_attention
_SOFTMAX = (torch.softmax, torch.nn.functional.softmax, Tensor.softmax)


class AttentionWatch(TorchFunctionMode):
    """Collects the probabilities `[batch head query key]` of every attention that is computed inside a `with` block.

    It sees torch's fused attention and softmaxes of four dimensions; what a library of its own computes is not seen.

    Attributes:
        maps: the probabilities, float32, in the order of the calls.

    Example:
        >>> query, key = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4)
        >>> with AttentionWatch() as watch:
        ...     _ = torch.nn.functional.scaled_dot_product_attention(query, key, key)
        >>> [tuple(each.shape) for each in watch.maps]
        [(1, 2, 3, 5)]
    """

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []

    def has_seen(self, attention: Tensor, tolerance: float = 1e-4) -> bool:
        """Whether one of the attentions that were computed has all the rows of `attention` `[batch head query key]`.

        In which order tokens stand is not compared, and rows of zeros are left out: an adapter may move tokens that are
        no candidates, and padding does not vote. Of a prompt with several images some rows may vote for each: then the
        rows of each image have to be in one and the same place.
        """
        wanted = attention.float().sort(dim=-1).values
        votes = wanted.sum(dim=-1) > 0
        for found in self.maps:
            if found.shape[1] != wanted.shape[1] or found.shape[3] != wanted.shape[3]:
                continue
            rows = found.sort(dim=-1).values
            if found.shape == wanted.shape:
                if _among(wanted, rows, votes, tolerance):
                    return True
            elif found.shape[2] > wanted.shape[2]:
                images = zip(wanted[:, None], votes[:, None], strict=True)
                if all(any(_among(own, row, cast, tolerance) for row in rows[:, None]) for own, cast in images):
                    return True
        return False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, and remember what attention it was."""
        result = func(*args, **(kwargs or {}))
        if func is _FUSED:
            self.maps.append(_probabilities(*args, **(kwargs or {})))
        elif func in _SOFTMAX and result.dim() == 4:
            self.maps.append(result.detach().float())
        return result


def _among(wanted: Tensor, rows: Tensor, votes: Tensor, tolerance: float) -> bool:
    """Whether the rows of `wanted` `[batch head query key]` that vote are among `rows`, image by image."""
    # [batch head query query]: how far each row that is wanted is from each that was computed
    far = (wanted[:, :, :, None] - rows[:, :, None]).abs().amax(dim=-1)
    return bool((far.amin(dim=-1) <= tolerance)[votes].all())


def _probabilities(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """What torch's fused attention weighs the values by."""
    query, key = query.detach(), key.detach()
    if enable_gqa:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    if is_causal:
        attn_mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()
    return attention_probabilities(query, key, query.shape[-1] ** -0.5 if scale is None else scale, attn_mask)
