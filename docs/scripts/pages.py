"""Writes what is generated: `python docs/scripts/pages.py`, or `make pages`. With --check nothing is written.

A test runs the check, so a page cannot fall behind the code.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

os.environ["TOKPRUNE_PLUGINS"] = ""  # the pages are about tokprune alone, whatever else is installed

ROOT = Path(__file__).parents[2]


def _loaded(script: str) -> Any:
    """The script as a module, by its path: the tests have packages of the same names."""
    place = spec_from_file_location(f"docs_scripts_{script}", Path(__file__).with_name(f"{script}.py"))
    assert place is not None
    assert place.loader is not None
    module = module_from_spec(place)
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    place.loader.exec_module(module)
    return module


def _render(script: str) -> Callable[[], str]:
    def render() -> str:
        text: str = _loaded(script).render()
        return text

    return render


PAGES: dict[str, Callable[[], str]] = {
    "README.md": _render("readme"),
    "docs/reference/command-line.md": _render("command_line"),
    "docs/reference/components.md": _render("components"),
    "docs/reference/laws.md": _render("laws"),
    "docs/reference/capabilities.md": _render("capabilities"),
    "docs/pictures/election.svg": _render("election"),
    "docs/pictures/pruned-call.svg": _render("pruned_call"),
}
"""File -> what belongs in it."""


def look(name: str) -> tuple[str, str]:
    """What belongs in a file, and how that differs from what is there; no text if it does not."""
    path = ROOT / name
    wanted, found = PAGES[name](), path.read_text(encoding="utf-8") if path.exists() else ""
    if wanted == found:
        return wanted, ""
    lines = difflib.unified_diff(found.splitlines(True), wanted.splitlines(True), "is", "ought")
    return wanted, f"{name} is not current; run `make pages`\n{''.join(lines)}"


def main() -> int:
    """Write or check the pages named (default: all); the exit status says whether all were current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", help="which; default: all")
    parser.add_argument("--check", action="store_true", help="only say what is not current")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(PAGES))
        return 0
    stale = 0
    for name in arguments.pages or PAGES:
        wanted, difference = look(name)
        if not difference:
            continue
        stale += 1
        if arguments.check:
            print(difference, end="")
        else:
            path = ROOT / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
