"""Components as text: a name, or a name with options ("catp-vote:layers=first,order=sum-then-rank")."""

from __future__ import annotations

import ast
import re
from typing import Any

from tokprune.errors import InvalidValueError

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""What a component may be called: lower-case words parted by hyphens."""

_COMMA_OUTSIDE_BRACKETS = re.compile(r",(?![^\[(]*[\])])")


def parse_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Split a spec into its name and options. Values are Python literals where they can be, else strings.

    Raises:
        InvalidValueError: the text is not a spec.

    Example:
        >>> parse_spec("catp-vote:layers=[0,2],order=sum-then-rank")
        ('catp-vote', {'layers': [0, 2], 'order': 'sum-then-rank'})
    """
    name, colon, rest = spec.partition(":")
    name = name.strip()
    if not NAME.fullmatch(name) or (colon and not rest.strip()):
        raise InvalidValueError(f"{spec!r} is not a component; write 'name' or 'name:option=value,option=value'")
    options: dict[str, Any] = {}
    for part in _COMMA_OUTSIDE_BRACKETS.split(rest) if colon else ():
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
    parts = []
    for key, value in options.items():
        text = repr(list(value)).replace(" ", "") if isinstance(value, tuple | list) else str(value)
        if isinstance(value, str) and (_literal(value) != value or re.search(r"[,=\[\]()'\"]|^\s|\s$", value)):
            text = repr(value)
        parts.append(f"{key}={text}")
    return name + (":" + ",".join(parts) if parts else "")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
