"""Where results and progress are printed to."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_WIDTH_OF_FILES = 140
"""Columns where there is no terminal to ask: tables in a file or a pipe are not squeezed to 80."""


def stdout() -> Console:
    """Results go here."""
    return _console(sys.stdout.isatty(), False)


def stderr() -> Console:
    """Progress and errors go here, so that results can be piped."""
    return _console(sys.stderr.isatty(), True)


def _console(terminal: bool, to_stderr: bool) -> Console:
    known = terminal or "COLUMNS" in os.environ
    return Console(stderr=to_stderr, width=None if known else _WIDTH_OF_FILES)
