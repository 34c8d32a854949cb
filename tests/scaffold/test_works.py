"""What is written works as it stands: every command that was printed, every block of the README, its own tests."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docs.blocks import blocks_of

from tokprune.scaffold.names import LONGEST

from .conftest import environment

NAMES = {
    "scorer": "class",  # a keyword
    "aggregator": "json",  # a module of the standard library
    "selector": "3d-pool-2",  # no identifier
    "reduction": "r" * LONGEST,
    "adapter": "tokprune-tiny",  # the distribution's name instead of the component's
}
"""Kind -> name: none of the easy ones."""

RUN = """
import json, shlex, sys
from pathlib import Path
from tokprune.cli import app

for kind, (commands, code) in json.loads(Path(sys.argv[1]).read_text()).items():
    print("====", kind)
    for command in commands:
        app(shlex.split(command)[1:], standalone_mode=False)
    exec(compile(code, kind, "exec"), {"__name__": "reader"})
"""
"""What a reader types and copies, in one process."""


@pytest.fixture
def written(tokprune: Callable[..., Any]) -> dict[str, list[str]]:
    """Kind -> the commands that were printed; the folders are in the current one."""
    steps = {}
    for kind, name in NAMES.items():
        result = tokprune("new", kind, name)
        assert result.exit_code == 0, result.output
        steps[kind] = re.findall(r"^  (\w.*?) +# ", result.output, re.MULTILINE)
    return steps


@pytest.fixture
def site(written: dict[str, list[str]], tmp_path: Path) -> Path:
    """Where they are installed, as `pip install` was printed; not -e, because that needs the network."""
    folders = []
    for commands in written.values():
        *command, folder = shlex.split(commands[0])
        assert command == ["pip", "install", "-e"]
        folders.append(f"./{folder}")
    _run([sys.executable, "-m", "pip", "install", "-q", *folders], environment(tmp_path / "site"))
    return tmp_path / "site"


def test_commands_and_readme_work_as_printed(written: dict[str, list[str]], site: Path, tmp_path: Path) -> None:
    todo = {}
    for kind, (_, *commands) in written.items():
        (readme,) = Path().glob(f"{shlex.split(commands[2])[3]}/README.md")
        code = "".join(block.code for block in blocks_of(readme) if block.language == "python")
        assert code
        todo[kind] = [c.replace("--n 50", "--n 2") for c in commands if c.startswith("tokprune ")], code
    assert [len(commands) for commands, _ in todo.values()] == [3, 3, 3, 3, 2]
    (tmp_path / "todo.json").write_text(json.dumps(todo))
    said = _run([sys.executable, "-c", RUN, "todo.json"], environment(site, *_plain()))
    parts = dict(zip(NAMES, said.split("==== ")[1:], strict=True))
    for (kind, part), name in zip(parts.items(), _plain(), strict=True):
        assert re.search(rf"│ {kind} +│ {name} +│.*│ tokprune-{name} 0\.1\.0", part), part  # list
        assert "Report(" in part  # the README
        if kind != "adapter":
            assert re.search(rf"│.*{name}.*8 of 32", part), part  # bench
            assert (tmp_path / "runs" / name / "rows.jsonl").is_file()


def test_their_own_tests_pass(written: dict[str, list[str]], site: Path) -> None:
    folders = []
    for commands in written.values():
        (command,) = [c for c in commands if "pytest" in c]
        *start, folder = shlex.split(command)
        assert start == ["python", "-m", "pytest"]
        folders.append(folder)
    said = _run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA", *folders], environment(site, *_plain())
    )
    for folder in folders:
        (code,) = Path(folder).glob("tests/*.py")
        passed = re.findall(rf"^PASSED \S*tests/{code.name}::(\w+)", said, re.MULTILINE)
        assert passed.count("test_conformance") >= 10, said  # a law each
        own = re.findall(r"^def (test_\w+)", code.read_text(), re.MULTILINE)
        assert len(own) >= 4
        assert set(passed) == {"test_conformance", *own}


def _plain() -> list[str]:
    """Names of the components, in order."""
    return [name.removeprefix("tokprune-") for name in NAMES.values()]


def _run(command: list[str], variables: dict[str, str]) -> str:
    done = subprocess.run(command, env=variables, text=True, capture_output=True, timeout=280, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
