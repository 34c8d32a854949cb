"""The command line: `tokprune list | inspect | answer | bench | speed | new | check`. One file per command.

Heavy imports wait until a command runs.
"""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from tokprune.cli.answer import answer
from tokprune.cli.bench import bench
from tokprune.cli.boundary import ErrorBoundary
from tokprune.cli.check import check
from tokprune.cli.inspect import inspect
from tokprune.cli.listing import list_components
from tokprune.cli.new import new
from tokprune.cli.speed import speed

app = typer.Typer(
    cls=ErrorBoundary,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode="markdown",
    help="Token pruning for vision-language models: what is installed, what fits, what it answers, what it costs.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from tokprune import __version__

        typer.echo(f"tokprune {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Options of every command; read by `ErrorBoundary`."""


app.command("list")(list_components)
app.command("inspect")(inspect)
app.command("answer")(answer)
app.command("bench")(bench)
app.command("speed")(speed)
app.command("new")(new)
app.command("check")(check)


def main() -> None:
    """Entry point of the `tokprune` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal or a name of a file may not be UTF-8
    app()
