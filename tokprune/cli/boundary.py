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
    """A group of commands that turns `TokpruneError` into a message on stderr, unless `--debug` was given."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the chosen command."""
        try:
            return super().invoke(ctx)
        except TokpruneError as error:
            if ctx.params.get("debug"):
                raise
            stderr().print(f"[bold red]error:[/] {_escaped(str(error))}", highlight=False, soft_wrap=True)
            raise typer.Exit(EXIT_CODE) from error


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
