"""The code blocks of a page, and how each kind is executed.

- python: executed, all of a page in one namespace.
- any language with title="FILE": written to that file.
- console: lines that start with `$ ` are run; what follows is compared with the output, `...` standing for anything.
- sh, text, json, others: only for reading. `test_commands.py` looks at the commands in sh blocks.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tokprune.cli import app
from tokprune.registry import default_registry

FENCE = re.compile(r"^```(?P<language>\w+)(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')
LIKE_DOCTEST = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str | None
    code: str


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, match.start()) + 2,
            match["language"],
            found[1] if (found := TITLE.search(match["info"])) else None,
            match["code"],
        )
        for match in FENCE.finditer(text)
    ]


def is_executed(block: Block) -> bool:
    """Whether `execute` does anything with it."""
    return block.title is not None or block.language in ("python", "console")


def execute(block: Block, namespace: dict[str, Any], folder: Path, site: Path) -> None:
    """Do what the page tells its reader to do, in `folder`; distributions are installed into `site`."""
    if block.title is not None:
        (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.title).write_text(block.code, encoding="utf-8")
    elif block.language == "python":
        padded = "\n" * (block.line - 1) + block.code  # so that a traceback shows the line of the page
        exec(compile(padded, str(block.page), "exec", dont_inherit=True), namespace)
    elif block.language == "console":
        for command, expected in commands_of(block.code):
            _run(command, expected, f"{block.page}:{block.line}", folder, site)


def commands_of(code: str) -> list[tuple[str, str]]:
    """Command and the output that the page shows, for each `$ ` line."""
    parts = re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def _run(command: str, expected: str, where: str, folder: Path, site: Path) -> None:
    done = _tokprune(command, folder) if command.startswith("tokprune ") else _program(command, folder, site)
    status, output, errors = done
    assert status == 0, f"{where}: $ {command}\n{output}\n{errors}"
    shown = " ".join(output.split())
    wanted = " ".join(expected.split())
    assert not wanted or doctest.OutputChecker().check_output(wanted + "\n", shown + "\n", LIKE_DOCTEST), (
        f"{where}: $ {command}\nthe page says:\n{expected}\nbut it prints:\n{output}"
    )


def _tokprune(command: str, folder: Path) -> tuple[int, str, str]:
    """Our own command, in this process: importing torch and transformers takes longer than most commands."""
    importlib.invalidate_caches()  # the last command may have installed a plugin
    default_registry.cache_clear()
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as environment:
        environment.setenv("COLUMNS", "140")
        result = CliRunner().invoke(app, shlex.split(command)[1:])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def _program(command: str, folder: Path, site: Path) -> tuple[int, str, str]:
    """Anything else, in a shell."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "COLUMNS": "140",
        # pip installs beside the environment, not into it, and asks nobody for anything
        "PIP_TARGET": str(site),
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one the wrong way round
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    if command.startswith("pip "):
        command = f"{sys.executable} -m {command}"
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment, text=True, capture_output=True, timeout=280, check=False
    )
    return done.returncode, done.stdout, done.stderr
