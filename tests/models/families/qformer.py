"""BLIP-2: query tokens in front of the language model."""

import torch

from tokprune.testing.tiny_blip2 import QUERIES, prompts, tiny_blip2

from ..calls import answer
from ..keeping import QUERY_SCORERS
from ..oracle import hand_fed, oracle_answer, oracle_logits
from .family import Family


def _generated(model, inputs, kept, options):
    torch.manual_seed(7)
    return oracle_answer(model, hand_fed(model, inputs, kept), **options)


FAMILIES = [
    Family(
        name="blip2 with opt, query tokens",
        adapter="blip2",
        target="query",
        build=tiny_blip2,
        inputs=prompts,
        oracle=lambda model, inputs, kept: oracle_logits(model, inputs, hand_fed(model, inputs, kept)),
        generated=_generated,
        tokens=(QUERIES, QUERIES),
        scorers=(*QUERY_SCORERS, "catp-weighted"),
        new_tokens=answer,
        several={"two images in a row": lambda: prompts(images=(2, 1))},
    )
]
