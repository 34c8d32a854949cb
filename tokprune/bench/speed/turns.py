"""Turns: everybody is called once per round, and each round begins with somebody else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_turns(contestants: Sequence[T], rounds: int) -> Iterator[T]:
    """Who is next: a slow moment hits neighbours alike, and nobody always follows the same one or comes first.

    Example:
        >>> list(in_turns("abc", 3))
        ['a', 'b', 'c', 'b', 'c', 'a', 'c', 'a', 'b']
    """
    for number in range(rounds):
        first = number % len(contestants) if contestants else 0
        yield from contestants[first:]
        yield from contestants[:first]
