"""What the delegated seam has to know about a model family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tokprune.adapters.sources import AttentionSource


@dataclass(frozen=True, eq=False)
class DelegatedFamily:
    """A model that turns images into query tokens and delegates text to `language_model`, with its own `generate`.

    Args:
        name: name of the adapter, for messages.
        sources: signal -> all its attention layers, in order.
        vectors: path of the module whose input is the query tokens' vectors (the projection).
        language_model: path of the language model.
        query_tokens: number of query tokens of each image.
        image_argument: name of the argument that carries the images.
        image_token_id: id of the placeholder that each query token takes in the prompt.
        padded: path of the module whose `attention_mask` `[image token]` says which tokens the query tokens share
            their self-attention with are no padding; None where query tokens are among themselves.
    """

    name: str
    sources: Mapping[str, Sequence[AttentionSource]]
    vectors: str
    language_model: str
    query_tokens: int
    image_argument: str
    image_token_id: int
    padded: str | None = None

    def placeholders(self, model: nn.Module, input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor | None:
        """Where the image tokens go, bool `[row sequence]`, found as the model itself finds them."""
        if input_ids is not None:
            return input_ids == self.image_token_id
        if inputs_embeds is None:
            return None
        outer: Any = model
        mask: Tensor = outer.get_placeholder_mask(None, inputs_embeds=inputs_embeds)
        return mask[..., 0] if mask.dim() == 3 else mask
