"""`tokprune list`: what is installed."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def list_components(
    pattern: Annotated[str, typer.Argument(help="Names to show, with wildcards: 'catp*'.")] = "*",
    kind: Annotated[
        str | None, typer.Option(help="Only scorer, aggregator, selector, reduction or adapter components.")
    ] = None,
) -> None:
    """List every component: what it does, its options with their defaults, and where it comes from."""
    from rich.markup import escape
    from rich.table import Table

    from tokprune.bench.console import stdout
    from tokprune.errors import UnknownNameError
    from tokprune.registry import KINDS, default_registry

    if kind is not None and kind not in KINDS:
        raise UnknownNameError(f"--kind {kind!r}: expected one of {', '.join(KINDS)}")
    registry = default_registry()
    table = Table()
    for column in ("kind", "name"):
        table.add_column(column, no_wrap=True)
    for column in ("what it does", "options", "from"):
        table.add_column(column)
    for each in KINDS if kind is None else (kind,):
        entries = registry.entries(each, pattern)
        for entry in entries:
            options = "\n".join(_option(name, default) for name, default in entry.options.items())
            origin = f"{entry.distribution} {entry.version}"
            table.add_row(each, entry.name, escape(entry.summary), escape(options), origin)
        if entries:
            table.add_section()
    if not table.row_count:
        raise UnknownNameError(f"nothing is called {pattern!r}; tokprune list shows every name")
    stdout().print(table)


def _option(name: str, default: Any) -> str:
    import inspect

    return name if default is inspect.Parameter.empty else f"{name}={default!r}"
