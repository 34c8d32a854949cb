"""Models that merge image tokens into their prompt: image tokens in front of the language model."""

from tokprune.testing import tiny_embed
from tokprune.testing.tiny_embed import pixels, prompts

from ..embed_oracle import oracle_logits, oracle_new_tokens
from .family import Family, after_prompt

VECTORS = ("distinct", "first", "l2-norm", "random", "stride")
ENCODER = (*VECTORS, "received-attention")
TEXT = ("catp-vote", "focus", "text-attention")
"""What reads the text's votes inside the language model."""


def row(name, adapter, build, inputs, tokens, scorers=ENCODER, **more):
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


FAMILIES = [
    row(
        "llava",
        "llava",
        tiny_embed.tiny_llava,
        lambda: prompts([[16], [16]], pixels(2)),
        (16, 16),
        (*ENCODER, *TEXT),
        several={
            "two images in a row": lambda: prompts([[16, 16], [16]], pixels(3)),
            "one row": lambda: prompts([[16]], pixels(1)),
            "a row without an image": lambda: prompts([[], [16]], pixels(1)),
        },
    )
]
