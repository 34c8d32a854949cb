"""Short names for the tiny BLIP-2 for retrieval of the table."""

from __future__ import annotations

from functools import partial

from tokprune.testing.models import tiny_model
from tokprune.testing.models.inputs_qformer import texts as prompts

__all__ = ["prompts", "tiny_blip2_retrieval", "tiny_blip2_vision"]

tiny_blip2_retrieval = partial(tiny_model, "blip2-retrieval")
tiny_blip2_vision = partial(tiny_model, "blip2-retrieval", model="Blip2VisionModelWithProjection")
