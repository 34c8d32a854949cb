"""Which positions the kept tokens take: 0 .. k-1 ("compact") or their own ("preserve")."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tokprune.adapters.calls import current_call
from tokprune.errors import AdapterError, UnsupportedCallError


def sequence_positions(model_type: str, mask: Tensor, generating: bool) -> Tensor:
    """Positions `[row sequence]` that a decoder-only language model gives an unpruned sequence by itself.

    OPT always counts real tokens; others count all positions in `forward` and real tokens in `generate`.
    """
    if model_type == "opt" or generating:
        return (mask.long().cumsum(dim=1) - 1).masked_fill(mask == 0, 0)
    return torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)


def compact(positions: Tensor, kept: Tensor) -> Tensor:
    """Close the gaps that dropped tokens leave in `positions` `[row sequence]`."""
    return (positions - (~kept).long().cumsum(dim=1)).clamp(min=0)


BIAS = (
    "relative_attention_bias",
    "relative_attention_num_buckets",
    "relative_attention_max_distance",
    "is_decoder",
    "_relative_position_bucket",
)
"""Attributes of T5's attention by which its bias is worked out again."""


def relative_bias_attention(language_model: nn.Module) -> nn.Module:
    """The attention module whose relative position bias an encoder-decoder language model's encoder shares.

    Raises:
        AdapterError: the language model has no T5-like encoder.
    """
    try:
        attention: nn.Module = language_model.get_submodule("encoder.block.0.layer.0.SelfAttention")
        _ = attention.relative_attention_bias
    except AttributeError:
        raise AdapterError(
            f"language model {type(language_model).__name__}: moving positions is only known for decoder-only "
            "language models and for T5; use positions='compact' with reduction='prune' or 'merge'"
        ) from None
    return attention


def refuse_checkpointing(language_model: nn.Module) -> None:
    """Raise `UnsupportedCallError` if the encoder's bias would be computed again in backward, after the call's end."""
    block = language_model.get_submodule("encoder.block.0")
    if block.training and getattr(block, "gradient_checkpointing", False):
        raise UnsupportedCallError(
            "gradient checkpointing computes the encoder's relative position bias again in backward, where the moved "
            "positions are no longer known; switch it off, or use positions='compact' with reduction='prune' or 'merge'"
        )


class RelativeBias:
    """Gives a T5 encoder a bias for given positions while a call of `owner` asks for it."""

    def __init__(self, owner: object, attention: nn.Module) -> None:
        self.owner, self.attention = owner, attention

    def __call__(self, original: Any, query_length: int, key_length: int, *args: Any, **kwargs: Any) -> Tensor:
        """Stand in for `compute_bias`: `[1 head query key]`, or `[row head query key]` for positions of their own."""
        call = current_call(self.owner)
        if call is None or call.bias_positions is None:
            return original(query_length, key_length, *args, **kwargs)  # type: ignore[no-any-return]
        positions = call.bias_positions
        if query_length != key_length or positions.shape[1] != key_length:
            raise UnsupportedCallError(
                f"the encoder ran on {key_length} tokens where {positions.shape[1]} were kept; please report this"
            )
        attention: Any = self.attention
        weight = attention.relative_attention_bias.weight
        distance = (positions[:, None, :] - positions[:, :, None]).to(weight.device)
        buckets = attention._relative_position_bucket(
            distance,
            bidirectional=not attention.is_decoder,
            num_buckets=attention.relative_attention_num_buckets,
            max_distance=attention.relative_attention_max_distance,
        )
        return attention.relative_attention_bias(buckets).permute(0, 3, 1, 2)  # type: ignore[no-any-return]
