"""`tokprune check`: do components keep the laws of their kind?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tokprune.testing.distribution import Check

BROKEN = 1
"""What the process returns if a law is broken."""


def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Distributions, or names of components, with wildcards. Default: every installed plugin."),
    ] = None,
) -> None:
    """Check that components keep the laws of their kind: shapes, types, ties, batches, state, devices, text.

    The same laws as `tokprune.testing`, without a test file. Each broken one is named, with the smallest example.
    """
    from rich.markup import escape
    from rich.table import Table

    from tokprune.bench.console import stdout

    found = _checks(names or [])
    table = Table()
    for column in ("kind", "name", "laws", "broken", "from"):
        table.add_column(column, justify="right" if column in ("laws", "broken") else "left")
    broken: list[str] = []
    for (kind, label, origin), checks in _by_component(found).items():
        failed = [message for message in map(_broken, checks) if message]
        table.add_row(kind, escape(label), str(len(checks)), str(len(failed) or "-"), origin)
        broken += failed
    out = stdout()
    out.print(table)
    for message in broken:
        out.print(message, highlight=False, markup=False, soft_wrap=True)
    if broken:
        raise typer.Exit(BROKEN)


def _checks(names: Sequence[str]) -> list[Check]:
    from tokprune.errors import UnknownNameError
    from tokprune.registry import KINDS, default_registry
    from tokprune.testing.distribution import checks_of, other_distributions

    distributions = other_distributions()
    if not names and not distributions:
        raise UnknownNameError(
            "no plugin is installed; give the name of a component, or 'tokprune' for all that ship with it"
        )
    found: list[Check] = []
    for name in names or distributions:
        if name in ("tokprune", *distributions):
            found += checks_of(name)
            continue
        entries = [entry for kind in KINDS for entry in default_registry().entries(kind, name)]
        if not entries:
            raise UnknownNameError(
                f"no component and no distribution is called {name!r}; distributions: "
                f"{', '.join(['tokprune', *distributions])}; tokprune list shows every component"
            )
        wanted = {(entry.kind, entry.name) for entry in entries}
        for distribution in dict.fromkeys(entry.distribution for entry in entries):
            found += [c for c in checks_of(distribution) if (c.entry.kind, c.entry.name) in wanted]
    return found


def _by_component(found: Sequence[Check]) -> dict[tuple[str, str, str], list[Check]]:
    """The checks of each component: those of its name belong to the first example of it."""
    groups: dict[tuple[str, str, str], list[Check]] = {}
    for check in dict.fromkeys(found):
        origin = f"{check.entry.distribution} {check.entry.version}"
        groups.setdefault((check.entry.kind, check.label, origin), []).append(check)
    return groups


def _broken(check: Check) -> str | None:
    try:
        check.law.check()
    except AssertionError as error:
        return str(error)
    return None
