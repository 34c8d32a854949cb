"""The index of components, from the registry."""

from __future__ import annotations

import inspect
from typing import Any

HEAD = """# Components

Every component that comes with tokprune, by the name under which it is registered. Plugins add more:
`tokprune list` shows what is installed, and from which distribution. An option is written behind the name,
`"catp-vote:layers=first"`, or given to the class, `tokprune.scorers.CatpVote(layers="first")`.
"""

INTRODUCTIONS = {
    "scorer": "Signal in, votes out. *Needs* are the signals that the scorer reads; nothing else is captured.",
    "aggregator": "Votes in, one score per token out: a voting rule. Each scorer names the one it goes with; "
    "`aggregator=...` takes another.",
    "selector": "Scores and keep in, kept tokens out.",
    "reduction": "What happens to the tokens that were not kept.",
    "adapter": "Knows one model family. See the [capability table](capabilities.md) for what was tried.",
}


def render() -> str:
    """The page as Markdown."""
    from tokprune.registry import KINDS, default_registry

    parts = [HEAD]
    for kind in KINDS:
        scorer = kind == "scorer"
        columns = ["name", "what it does", "options", *(["needs", "voting rule"] if scorer else []), "class"]
        parts += [
            f"## {kind.capitalize()}s",
            "",
            INTRODUCTIONS[kind],
            "",
            _line(columns),
            _line(["---"] * len(columns)),
        ]
        parts += [_line(_cells(entry, scorer)) for entry in default_registry().entries(kind)]
        parts.append("")
    return "\n".join(parts)


def _cells(entry: Any, scorer: bool) -> list[str]:
    options = ", ".join(
        f"`{name}`" if default is inspect.Parameter.empty else f"`{name}={default!r}`"
        for name, default in entry.options.items()
    )
    needs = [", ".join(f"`{name}`" for name in entry.cls.needs), f"`{entry.cls.aggregator}`"] if scorer else []
    path = ".".join([*entry.cls.__module__.split(".")[:2], entry.cls.__name__])  # where it is exported
    return [f"`{entry.name}`", entry.summary, options, *needs, f"[{entry.cls.__name__}][{path}]"]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
