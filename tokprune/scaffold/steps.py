"""What to do with a new distribution: the commands, as they are typed."""

from __future__ import annotations

import shlex
from pathlib import Path

from tokprune.scaffold.names import Names

_BENCH = {
    "scorer": "--scorer {name} --scorer random --keep 1/4",
    "aggregator": "--policy 'catp-vote keep=1/4' --policy 'catp-vote aggregator={name} keep=1/4'",
    "selector": "--policy 'catp-vote keep=1/4' --policy 'catp-vote selector={name} keep=1/4'",
    "reduction": "--policy 'catp-vote keep=1/4' --policy 'catp-vote reduction={name} keep=1/4'",
}
"""How a kind is measured, beside what it has to beat. The commands load no model that only an adapter knows."""


def next_steps(names: Names, folder: Path) -> list[tuple[str, str]]:
    """Command and what it does, in order.

    Example:
        >>> from tokprune.scaffold import Names
        >>> [command for command, _ in next_steps(Names.of("scorer", "far"), Path("tokprune-far"))][:2]
        ["pip install -e 'tokprune-far[test]'", 'tokprune list far']
    """
    steps = [
        (f"pip install -e {shlex.quote(f'{folder}[test]')}", "once; changes of the code then count at once"),
        (f"tokprune list {names.name}", "it is there"),
        (f"tokprune check {names.distribution}", "every law of its kind"),
        (f"python -m pytest {shlex.quote(str(folder))}", "the same laws, and tests of your own"),
    ]
    if names.kind in _BENCH:
        compared = _BENCH[names.kind].format(name=names.name)
        steps.append((f"tokprune bench {compared} --n 50 --out runs/{names.name}", "on the bundled model"))
    return steps
