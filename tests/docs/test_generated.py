"""What is generated is what the generator makes today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from . import places

SCRIPT = places.DOCS / "scripts" / "pages.py"


def _pages(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


def test_generated_pages_are_current() -> None:
    done = _pages("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_generated() -> None:
    generated = set(_pages("--list").stdout.split())
    assert generated >= {
        "README.md",
        "docs/reference/command-line.md",
        "docs/reference/components.md",
        "docs/reference/capabilities.md",
        "docs/pictures/election.svg",
    }
    assert all(Path(places.ROOT / page).is_file() for page in generated)
