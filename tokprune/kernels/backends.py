"""Which backend runs, and which ones did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch

from tokprune.errors import InvalidValueError

Backend = Literal["auto", "reference", "triton"]

BACKENDS: tuple[Backend, ...] = ("auto", "reference", "triton")
"""What a user may ask for: "auto" takes triton where it can be had, and the torch reference elsewhere."""

_RAN: ContextVar[set[str] | None] = ContextVar("tokprune_backends_that_ran", default=None)


def check_backend(where: str, backend: object) -> Backend:
    """Return `backend`, or raise `InvalidValueError` if there is none of that name."""
    if backend not in BACKENDS:
        names = ", ".join(repr(name) for name in BACKENDS)
        raise InvalidValueError(f"{where}: backend must be one of {names}, got {backend!r}")
    return backend


@contextmanager
def record_backends() -> Iterator[set[str]]:
    """The names of the backends that counted votes inside the block, as a set that fills while it runs.

    Nested blocks each see what ran inside them. Code compiled by torch records nothing.

    Example:
        >>> from tokprune import Votes
        >>> with record_backends() as ran:
        ...     points = Votes(torch.eye(3)[None]).points()
        >>> ran
        {'reference'}
    """
    ran: set[str] = set()
    outer = _RAN.get()
    token = _RAN.set(ran)
    try:
        yield ran
    finally:
        _RAN.reset(token)
        if outer is not None:
            outer |= ran


def note_backend(name: str) -> None:
    """Tell `record_backends` that a backend counts votes."""
    if torch.compiler.is_compiling():
        return  # not every torch that we support can trace a context variable
    ran = _RAN.get()
    if ran is not None:
        ran.add(name)
