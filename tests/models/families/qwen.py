"""Qwen-VL models: image tokens in front of the language model, positions by row and column."""

from tokprune.testing.tiny_qwen import prompts, tiny_qwen2_5_vl, tiny_qwen2_vl, tiny_qwen3_vl

from ..qwen_oracle import oracle_logits, oracle_new_tokens
from .embedmerge import ENCODER, TEXT
from .family import Family, after_prompt


def _row(name, build, apart=False):
    return Family(
        name=name,
        adapter=name,
        build=build,
        inputs=prompts,
        oracle=oracle_logits,
        generated=oracle_new_tokens,
        tokens=(8, 8),
        scorers=(*ENCODER, *TEXT),
        new_tokens=after_prompt,
        several={
            "several images of different sizes": lambda: prompts([[(4, 8), (4, 4)], [(4, 6)]]),
            "a row without an image": lambda: prompts([[], [(4, 4)]]),
            "an image and a video": lambda: prompts([[(4, 8), (2, 4, 4)], [(2, 4, 4), (4, 6)]], apart=apart),
        },
    )


FAMILIES = [
    _row("qwen2-vl", tiny_qwen2_vl),
    _row("qwen2-5-vl", tiny_qwen2_5_vl),
    _row("qwen3-vl", tiny_qwen3_vl, apart=True),
]
