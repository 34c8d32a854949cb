"""Writes what is generated: `python docs/scripts/pages.py`, or `make pages`. With --check nothing is written.

A test runs the check, so a page cannot fall behind the code.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Callable
from pathlib import Path

os.environ["TOKPRUNE_PLUGINS"] = ""  # the pages are about tokprune alone, whatever else is installed

ROOT = Path(__file__).parents[2]


def _render(script: str) -> Callable[[], str]:
    def render() -> str:
        text: str = __import__(script).render()
        return text

    return render


PAGES: dict[str, Callable[[], str]] = {
    "README.md": _render("readme"),
    "docs/reference/command-line.md": _render("command_line"),
    "docs/reference/components.md": _render("components"),
    "docs/reference/laws.md": _render("laws"),
    "docs/reference/capabilities.md": _render("capabilities"),
    "docs/pictures/election.svg": _render("election"),
}
"""File -> what belongs in it."""


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
        path = ROOT / name
        wanted, found = PAGES[name](), path.read_text(encoding="utf-8") if path.exists() else ""
        if wanted == found:
            continue
        stale += 1
        if arguments.check:
            print(f"{name} is not current; run `make pages`")
            sys.stdout.writelines(difflib.unified_diff(found.splitlines(True), wanted.splitlines(True), "is", "ought"))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, encoding="utf-8")
            print(f"wrote {name}")
    return 1 if stale and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
