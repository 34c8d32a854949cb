"""A note on the error of a component: which one it was, where it was called, and what it was given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tokprune.errors import brief

_MARK = "tokprune: "


@contextmanager
def noting(kind: str, component: Any, signal: Any = None, **given: Any) -> Iterator[None]:
    """Let what is raised inside say that it came out of a component.

    Args:
        kind: "scorer", "aggregator", "selector" or "reduction".
        component: the object that is called.
        signal: the `Signal` that it is called for.
        given: tensors that it is given, by name.
    """
    try:
        yield
    except Exception as error:
        # What one component raises may come through another that was reading from it.
        if not any(note.startswith(_MARK) for note in getattr(error, "__notes__", ())):
            where = "" if signal is None else f", for {signal.source}"
            shapes = [f"{name} {tuple(value.shape)}" for name, value in given.items() if hasattr(value, "shape")]
            shapes += [] if signal is None else _shapes(signal)
            error.add_note(f"{_MARK}raised by {kind} {brief(component)}{where}; given {', '.join(shapes) or 'nothing'}")
        raise


def _shapes(signal: Any) -> list[str]:
    found = [f"[image token] = {signal.shape}"]
    for name in signal.offered:
        value = getattr(signal, name)
        if hasattr(value, "shape"):
            found.append(f"{name} {tuple(value.shape)}")
        elif hasattr(value, "embeddings"):
            found.append(f"{name} {tuple(value.embeddings.shape)}")
        else:
            found.append(f"{name} {value!r}")
    return found
