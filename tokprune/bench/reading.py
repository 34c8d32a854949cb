"""Texts that the user hands over: read from files, and one message with file and line where that fails."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tokprune.errors import InvalidValueError

_LONGEST = 80


def read_text(path: str | Path, what: str) -> str:
    """What a file holds, in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        what: What it is read for, for the message.

    Raises:
        InvalidValueError: It is no file (reading a pipe or a device could wait for ever), cannot be read, or is not
            UTF-8; the message then names the line.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise InvalidValueError(f"{what}: cannot read {path}: it is not a file")
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidValueError(f"{what}: cannot read {path}: {reason}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidValueError(f"{path}:{line}: not UTF-8 ({error.reason}); save the file in UTF-8") from error


def read_json(text: str | bytes, where: str) -> Any:
    """What a piece of JSON says.

    Raises:
        InvalidValueError: It is no JSON, or Python cannot hold it; the message begins with `where`.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidValueError(f"{where}: not JSON ({error.msg}, column {error.colno})") from error
    except RecursionError as error:
        raise InvalidValueError(f"{where}: JSON that is nested too deeply to be read") from error
    except ValueError as error:  # a whole number of thousands of digits, or bytes that are not UTF-8
        raise InvalidValueError(f"{where}: JSON that cannot be read ({error})") from error


def check_text(text: str, where: str) -> None:
    """Raise where a text has half of a character in it, which no tokenizer and no file takes.

    Raises:
        InvalidValueError: There is one; the message begins with `where`.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start].encode("ascii", "backslashreplace").decode()
        raise InvalidValueError(
            f"{where}: half of a character (the lone surrogate {half}) at position {error.start}; write the whole one"
        ) from error


def shown(value: object) -> str:
    """A value as a message shows it: not longer than a line."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
