"""Commands that pages show but nobody runs here: the command, its options and the make target exist."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
from typer.main import get_command

from tokprune.cli import app

from . import places
from .blocks import blocks_of

SHOWN = [
    (f"{places.name(page)}:{block.line}", line)
    for page in places.pages()
    for block in blocks_of(page)
    if block.language == "sh"
    for line in block.code.splitlines()
    if line.strip() and not line.lstrip().startswith("#")
]
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]


def options_of(command: str) -> set[str]:
    return {flag for p in COMMANDS[command].params for flag in (*p.opts, *p.secondary_opts)}


@pytest.mark.parametrize(("where", "line"), SHOWN)
def test_command_exists(where: str, line: str) -> None:
    program, *rest = shlex.split(line, comments=True)
    if program == "make":
        makefile = (places.ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE) for target in rest), where
    elif program == "tokprune":
        assert {word for word in rest if word.startswith("--")} <= options_of(rest[0]), where
    else:
        assert program in ("pip", "python", "git"), f"{where}: {program}"


def test_readme_names_the_two_commands() -> None:
    assert {"make demo", "make test"} <= {line.partition("#")[0].strip() for where, line in SHOWN if "README" in where}
