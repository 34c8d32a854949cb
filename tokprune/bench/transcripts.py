"""Transcripts: how many words of one a model got wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_APOSTROPHE = re.compile("['\u2019]")
_NOT_IN_A_WORD = re.compile(r"[^\w]+|_")


def words_of(text: str) -> list[str]:
    """The words as they are compared: lower case, no punctuation.

    >>> words_of("It's 5 o'clock, already!")
    ['its', '5', 'oclock', 'already']
    """
    return _NOT_IN_A_WORD.sub(" ", _APOSTROPHE.sub("", text.casefold())).split()


def word_errors(said: str, accepted: Iterable[str]) -> tuple[int, int]:
    """Wrong words, and words of the transcript: of the accepted transcripts, that with the fewest errors.

    >>> word_errors("the cat sat down", ["The cat sat.", "a dog"])
    (1, 3)
    """
    heard = words_of(said)
    pairs = [(edits(heard, words_of(text)), len(words_of(text))) for text in accepted]
    return min(pairs, key=lambda pair: pair[0] / max(pair[1], 1))


def edits(said: Sequence[str], meant: Sequence[str]) -> int:
    """The fewest words to insert, delete or replace to make one of the other (Levenshtein).

    >>> edits(["a", "b", "c"], ["b", "c", "d"])
    2
    """
    row = list(range(len(meant) + 1))
    for number, word in enumerate(said, start=1):
        above, row[0] = row[0], number
        for place, other in enumerate(meant, start=1):
            above, row[place] = row[place], min(above + (word != other), row[place] + 1, row[place - 1] + 1)
    return row[-1]
