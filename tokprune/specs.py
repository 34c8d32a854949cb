"""Components as text: a name, or a name with options ("catp-vote:layers=first,order=sum-then-rank")."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from tokprune.errors import InvalidValueError, brief

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""What a component may be called: lower-case words with hyphens between them."""

_NEEDS_QUOTES = re.compile(r"[,=\[\](){}'\"\\]|^\s|\s$")


def parse_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Split a spec into its name and options. Values are Python literals where they can be, else strings.

    Raises:
        InvalidValueError: the text is not a spec.

    Example:
        >>> parse_spec("catp-vote:layers=[0,2],order=sum-then-rank")
        ('catp-vote', {'layers': [0, 2], 'order': 'sum-then-rank'})
    """
    if not isinstance(spec, str):
        raise InvalidValueError(f"a component is written as text, 'name' or 'name:option=value', got {brief(spec)}")
    name, colon, rest = spec.partition(":")
    name = name.strip()
    if not NAME.fullmatch(name) or (colon and not rest.strip()):
        raise InvalidValueError(f"{spec!r} is not a component; write 'name' or 'name:option=value,option=value'")
    options: dict[str, Any] = {}
    for part in _parts(rest) if colon else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key.isidentifier() or key in options:
            raise InvalidValueError(f"{spec!r}: {part.strip()!r} is not option=value; write 'name:option=value,...'")
        options[key] = _literal(value)
    return name, options


def format_spec(name: str, options: dict[str, Any]) -> str:
    """The inverse of `parse_spec`.

    Example:
        >>> format_spec("catp-vote", {"layers": (0, 2)})
        'catp-vote:layers=[0,2]'
    """
    parts = [f"{key}={_text(value)}" for key, value in options.items()]
    return name + (":" + ",".join(parts) if parts else "")


def _parts(text: str) -> Iterator[str]:
    """Split at the commas that stand outside brackets and quotes."""
    depth, start, quote, escaped = 0, 0, "", False
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote and not escaped else quote
            escaped = sign == "\\" and not escaped
        elif sign in "'\"":
            quote = sign
        elif sign in "[({":
            depth += 1
        elif sign in "])}":
            depth -= 1
        elif sign == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return repr(value) if _literal(value) != value or _NEEDS_QUOTES.search(value) else value
    if isinstance(value, tuple | list):
        return f"[{','.join(map(repr, value))}]"
    if isinstance(value, float):
        return repr(value).replace("inf", "1e999")  # the literal that Python reads as infinity
    return str(value)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # what literal_eval says of other text
        return text
