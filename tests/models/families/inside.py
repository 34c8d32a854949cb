"""Models whose image tokens leave inside the language model, behind the second of four layers."""

from tokprune.testing.tiny_inside import TOKENS, prompts, tiny_inside

from .. import inside_oracle as oracle
from .embedmerge import TEXT, VECTORS
from .family import Family, after_prompt

FAMILIES = [
    Family(
        name="llava, inside the language model",
        adapter="llava",
        build=tiny_inside,
        inputs=prompts,
        oracle=oracle.logits,
        generated=oracle.generated,
        tokens=(TOKENS, TOKENS),
        scorers=(*VECTORS, *TEXT),
        options={"after": 2},
        tolerance=1e-5,
        new_tokens=after_prompt,
        several={"two images in a row": lambda: prompts((2, 1)), "one row": lambda: prompts((1,), (0,))},
    )
]
