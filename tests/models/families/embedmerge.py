"""Models that merge image tokens into their prompt: image tokens in front of the language model."""

from functools import partial

import torch

from tokprune.testing import tiny_embed
from tokprune.testing.tiny_embed import IMAGE, pixels, prompts, shapes, tiles

from ..embed_oracle import oracle_logits, oracle_new_tokens
from .family import Family, after_prompt

VECTORS = ("distinct", "first", "l2-norm", "random", "stride")
ENCODER = (*VECTORS, "received-attention")
TEXT = ("catp-vote", "focus", "text-attention")
"""What reads the text's votes inside the language model."""


def row(name, adapter, build, inputs, tokens, scorers=(*ENCODER, *TEXT), **more):
    """A family whose oracle is the same model, handed embeddings."""
    return Family(
        name=name,
        adapter=adapter,
        build=build,
        inputs=inputs,
        oracle=lambda model, given, kept: oracle_logits(model, given, kept, tokens),
        generated=lambda model, given, kept, options: oracle_new_tokens(model, given, kept, tokens, options),
        tokens=tokens,
        scorers=scorers,
        new_tokens=after_prompt,
        **more,
    )


def both_ways(rows, images, suffix=0):
    """A prompt for Gemma, which is told which tokens see each other in both directions."""
    given = prompts(rows, images)
    ids = given["input_ids"]
    given["token_type_ids"] = torch.zeros_like(ids) if suffix else (ids == IMAGE).long()
    if suffix:
        given["token_type_ids"][:, -suffix:] = 1
    return given


def plain(count, *extra):
    """Batches for models whose images all have `count` tokens, one image a time along the first dimension."""
    return {
        "two images in a row": lambda: prompts([[count, count], [count]], pixels(3, *extra)),
        "one row": lambda: prompts([[count]], pixels(1, *extra)),
        "a row without an image": lambda: prompts([[], [count]], pixels(1, *extra)),
    }


def rows_of_tiles():
    """Two images in the first row of Idefics, one in the second: what is missing is all zeros."""
    images = pixels(2, 2)
    images["pixel_values"][1, 1] = 0
    return images


FAMILIES = [
    row(
        "llava",
        "llava",
        tiny_embed.tiny_llava,
        lambda: prompts([[16], [16]], pixels(2)),
        (16, 16),
        several=plain(16),
    ),
    row(
        "vipllava",
        "vipllava",
        tiny_embed.tiny_vipllava,
        lambda: prompts([[16], [16]], pixels(2)),
        (16, 16),
        several={"two images in a row": plain(16)["two images in a row"]},
    ),
    row(
        "llava-next",
        "llava-next",
        tiny_embed.tiny_llava_next,
        lambda: prompts([[14], [16]], tiles((16, 32), (32, 16))),
        (14, 16),
        several={
            "unpadded": lambda: prompts([[14, 10], [14]], tiles((16, 32), (16, 16), (16, 32))),
        },
    ),
    row(
        "llava-onevision",
        "llava-onevision",
        tiny_embed.tiny_llava_onevision,
        lambda: prompts([[14], [16]], tiles((16, 32), (32, 16))),
        (14, 16),
        several={"equally many": lambda: prompts([[14], [14]], tiles((16, 32), (16, 32)))},
    ),
    row(
        "idefics2",
        "idefics2",
        tiny_embed.tiny_idefics2,
        lambda: prompts([[8], [8]], pixels(2, 1)),
        (8, 8),
        scorers=(*VECTORS, "catp-vote", "focus"),
        several={"two images in a row": lambda: prompts([[8, 8], [8]], rows_of_tiles(), around=89)},
    ),
    row(
        "idefics3",
        "idefics3",
        tiny_embed.tiny_idefics3,
        lambda: prompts([[16], [16]], pixels(2, 1)),
        (16, 16),
        several={"two images in a row": lambda: prompts([[16, 16], [16]], rows_of_tiles(), around=89)},
    ),
    row(
        "smolvlm",
        "smolvlm",
        partial(tiny_embed.tiny_idefics3, smol=True),
        lambda: prompts([[16], [16]], pixels(2, 1)),
        (16, 16),
        several={"two images in a row": lambda: prompts([[16, 16], [16]], rows_of_tiles(), around=89)},
    ),
    row(
        "paligemma",
        "paligemma",
        tiny_embed.tiny_paligemma,
        lambda: both_ways([[16], [16]], pixels(2), suffix=2),
        (16, 16),
        several={"two images in a row": lambda: both_ways([[16, 16], [16]], pixels(3), suffix=1)},
    ),
    row(
        "gemma3",
        "gemma3",
        tiny_embed.tiny_gemma3,
        lambda: both_ways([[16], [16]], pixels(2)),
        (16, 16),
        several={"two images in a row": lambda: both_ways([[16, 16], [16]], pixels(3))},
    ),
    row(
        "internvl",
        "internvl",
        tiny_embed.tiny_internvl,
        lambda: prompts([[16], [16]], pixels(2)),
        (16, 16),
        several={"two tiles in a row": lambda: prompts([[16, 16], [16]], pixels(3))},
    ),
    row(
        "aya-vision",
        "aya-vision",
        tiny_embed.tiny_aya_vision,
        lambda: prompts([[16], [16]], pixels(2)),
        (16, 16),
        several={"two tiles in a row": lambda: prompts([[16, 16], [16]], pixels(3))},
    ),
    row(
        "mistral3",
        "mistral3",
        tiny_embed.tiny_mistral3,
        lambda: prompts([[16], [8]], shapes((16, 16), (8, 16))),
        (16, 8),
        several={"two images in a row": lambda: prompts([[16, 8], [16]], shapes((16, 16), (16, 8), (16, 16)))},
    ),
]
"""Rows, in the order of the adapters' files."""
