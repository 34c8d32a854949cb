"""Answer matching: does what the model said count as one of the accepted answers?"""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: str(number) for number, word in enumerate(_WORDS)} | {"none": "0"}
_ARTICLES = frozenset({"a", "an", "the"})
_DIGIT_GROUP = re.compile(r"(?<=\d),(?=\d{3})")
_APOSTROPHE = re.compile("['\u2019]")
_NOT_IN_A_WORD = re.compile(r"[^\w.]+|(?<!\d)\.|\.(?!\d)|_")


def normalise(answer: str) -> str:
    """The answer as it is compared: lower case, no punctuation, no articles, number words as digits.

    These are the rules of VQA's own evaluation, less its table of misspelt contractions ("isnt" equals "isn't" here
    because apostrophes go). Decimal points stay. An answer that is nothing but an article ("A") stays as it is.

    >>> normalise("The Two red-circles.")
    '2 red circles'
    """
    text = _APOSTROPHE.sub("", _DIGIT_GROUP.sub("", answer.casefold()))
    words = _NOT_IN_A_WORD.sub(" ", text).split()
    content = [word for word in words if word not in _ARTICLES] or words
    return " ".join(_NUMBERS.get(word, word) for word in content)


def matches(answer: str, accepted: Iterable[str]) -> bool:
    """Whether `answer` equals one of the accepted answers after normalising both; an empty answer never does."""
    said = normalise(answer)
    return bool(said) and any(said == normalise(candidate) for candidate in accepted)
