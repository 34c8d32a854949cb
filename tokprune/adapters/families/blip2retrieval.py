"""BLIP-2 for retrieval: query tokens are compared with texts, and no language model reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from tokprune.adapters.families.qformer import QUERY_SIGNALS, QFormerAdapter, query_sources
from tokprune.adapters.output.family import HeadFamily
from tokprune.adapters.output.heads import HeadPruning
from tokprune.interfaces import Attachment, Cut, Observed


@dataclass(frozen=True)
class Blip2Retrieval(QFormerAdapter):
    """BLIP-2 for image-text retrieval: query tokens leave behind the Q-Former, image tokens in the encoder.

    A query token that leaves is missing from `image_embeds`, so the index of a picture collection becomes shorter:
    k rows for each image instead of 32. The contrastive head then takes the highest similarity among the kept tokens,
    the matching head the mean over them. What an image costs to encode stays the same; target "image" changes that.

    Signals of target "query": `tokens` (Q-Former outputs in front of the head), `cross_attention` (image tokens, [CLS]
    included, vote for query tokens), `self_attention` (query tokens vote for each other; with the matching head the
    text's tokens vote too, padding does not) and `encoder_attention`. There is no `text`: a picture in an index is
    compared with texts that nobody knows yet.

    Signals of target "image" are BLIP-2's: see `Blip2`.

    Refused for target "query": reductions that hide tokens, and selectors that keep different numbers for the images
    of a batch, for the heads take no mask.
    """

    name: ClassVar[str] = "blip2-retrieval"
    module: ClassVar[str] = "transformers.models.blip_2.modeling_blip_2"
    models: ClassVar[tuple[str, ...]] = ("Blip2ForImageTextRetrieval", "Blip2VisionModelWithProjection")
    signals: ClassVar[tuple[str, ...]] = tuple(name for name in QUERY_SIGNALS if name != "text")

    def weighs_query(self, model: nn.Module) -> bool | str:
        """Why attention to query tokens cannot be proportional."""
        return "its heads read query tokens one by one, without attention"

    def attach_query(self, model: nn.Module, cut: Cut, done: Callable[[Observed], Any], owner: object) -> Attachment:
        """Cut the query tokens in front of the heads that compare them with texts."""
        config: Any = model.config
        reads_text = hasattr(model, "itm_head")
        family = HeadFamily(
            name=self.name,
            sources=query_sources(model, asks=reads_text),
            reads="qformer",
            heads=("vision_projection", "itm_head") if reads_text else ("vision_projection",),
            tokens=config.num_query_tokens,
        )
        return HeadPruning(model, family, cut, done, owner)
