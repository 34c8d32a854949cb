"""The error boundary: a mistake of the user's is one message, not a traceback."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from tokprune.bench.console import stderr
from tokprune.errors import TokpruneError

EXIT_CODE = 2
"""What the process returns after such a message, as after a wrong option."""


class ErrorBoundary(TyperGroup):
    """A group of commands that turns an error of the user's into a message on stderr, unless `--debug` was given.

    That is every `TokpruneError`, and what the system says of files and memory where no command knew more.
    """

    def invoke(self, ctx: Any) -> Any:
        """Runs the chosen command."""
        try:
            return super().invoke(ctx)
        except (TokpruneError, OSError, MemoryError) as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):  # the reader of our output has gone
                raise
            text = str(error) if str(error) else type(error).__name__
            stderr().print(f"[bold red]error:[/] {_escaped(text)}", highlight=False, soft_wrap=True)
            raise typer.Exit(EXIT_CODE) from error


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text.encode("utf-8", "backslashreplace").decode())  # names of files need not be UTF-8
