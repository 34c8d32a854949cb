"""The words that the bundled model knows: those of the task, of the prompt template, and five special ones."""

from __future__ import annotations

from tokprune.zoo.questions import NUMBERS, PLURALS
from tokprune.zoo.scenes import COLOURS, SHAPES, SIZES

PROMPT_TEMPLATE = "Question: {} Short answer:"
"""What a question is put into before it goes to the model; BLIP-2 is asked visual questions with the same words."""

BOS, PAD, EOS, UNKNOWN, IMAGE = "<s>", "<pad>", "</s>", "<unk>", "<image>"
SPECIAL = (BOS, PAD, EOS, UNKNOWN, IMAGE)
_TEMPLATE = ("question", "short", "answer", ":", "?")
_ASKING = ("what", "where", "how", "many", "is", "are", "there", "the", "a", "or", "than", "more", "larger")
_NOUNS = ("colour", "shape", "size", "object", "objects")
_PLACES = ("at", "left", "right", "top", "bottom")

VOCABULARY = (
    *SPECIAL,
    *_TEMPLATE,
    *_ASKING,
    *_NOUNS,
    *_PLACES,
    *COLOURS,
    *SHAPES,
    *PLURALS.values(),
    *SIZES,
    *NUMBERS,
    "yes",
    "no",
)
"""Every word, at the index that is its token id."""
