"""`tokprune new`: a distribution with a component of your own, to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    kind: Annotated[str, typer.Argument(help="scorer, aggregator, selector, reduction or adapter.")],
    name: Annotated[str, typer.Argument(help="What it is called: lower-case words with hyphens between them.")],
    out: Annotated[Path, typer.Option(help="Where to put the new folder, which is called tokprune-NAME.")] = Path("."),
) -> None:
    """Write a distribution with one component, which installs, passes the conformance kit and is listed as it stands.

    It holds a small example of its kind that works, to put your own idea in its place; tests; a README; and a workflow
    that runs the tests on GitHub. Nothing is overwritten.
    """
    import difflib

    from tokprune.bench.console import stdout
    from tokprune.errors import UnknownNameError
    from tokprune.registry import KINDS
    from tokprune.scaffold import new_distribution, next_steps
    from tokprune.scaffold.taken import check_free

    if kind not in KINDS:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        nearest = f"; did you mean {close[0]!r}?" if close else "."
        raise UnknownNameError(f"there is no kind {kind!r}{nearest} The kinds are {', '.join(KINDS)}")
    distribution = new_distribution(kind, name)
    check_free(distribution.names)
    folder = distribution.write(out)
    steps = next_steps(distribution.names, folder)
    width = max(len(command) for command, _ in steps)
    lines = [
        f"Written to {folder}:",
        *(f"  {path}" for path in sorted(distribution.files)),
        "",
        "Next:",
        *(f"  {command:{width}}  # {purpose}" for command, purpose in steps),
        "",
        f"Then put your own idea into {distribution.names.package}/{distribution.names.module}.py. Before you share it,"
        " choose a licence: its name belongs into pyproject.toml, its text into a file LICENSE.",
    ]
    for line in lines:
        stdout().print(line, highlight=False, markup=False, soft_wrap=True)
