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
import pytest
from tokprune.cli import app

for kind, (commands, code) in json.loads(Path(sys.argv[1]).read_text()).items():
    print("####", kind)
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "tokprune"
        app(arguments, standalone_mode=False)
    exec(compile(code, kind, "exec"), {"__name__": "reader"})
print("#### tests")
sys.exit(pytest.main(["-p", "no:cacheprovider", "-q", "-rA", *sys.argv[2:]]))
"""
"""What a reader types and copies, in one process: importing torch takes longer than all of it."""


@pytest.fixture
def written(tokprune: Callable[..., Any]) -> dict[str, list[str]]:
    """Kind -> the commands that were printed; the folders are in the current one."""
    steps = {}
    for kind, name in NAMES.items():
        result = tokprune("new", kind, name)
        assert result.exit_code == 0, result.output
        steps[kind] = re.findall(r"^  (\w.*?) +# ", result.output, re.MULTILINE)
    return steps


@pytest.mark.slow
def test_it_works_as_printed(written: dict[str, list[str]], tmp_path: Path) -> None:
    folders = [_folder(commands) for commands in written.values()]
    variables = environment(tmp_path / "site", *_plain())
    _run([sys.executable, "-m", "pip", "install", "-q", *[f"./{folder}[test]" for folder in folders]], variables)
    todo = {}
    for (kind, commands), folder in zip(written.items(), folders, strict=True):
        code = "".join(block.code for block in blocks_of(Path(folder) / "README.md") if block.language == "python")
        todo[kind] = [c.replace("--n 50", "--n 2") for c in commands if c.startswith("tokprune ")], code
    (tmp_path / "todo.json").write_text(json.dumps(todo))
    said = _run([sys.executable, "-c", RUN, "todo.json", *folders], variables)
    *parts, tests = said.split("#### ")[1:]
    for kind, name, part in zip(NAMES, _plain(), parts, strict=True):
        _look_at_what_was_said(kind, name, part)
    for folder in folders:
        _look_at_its_tests(folder, tests)


def _folder(commands: list[str]) -> str:
    """The one that is installed and tested. (pip with -e needs the network, so here it goes without.)"""
    install, test = (next(shlex.split(c) for c in commands if c.startswith(program)) for program in ("pip", "python"))
    assert test[:3] == ["python", "-m", "pytest"]
    assert install == ["pip", "install", "-e", f"{test[3]}[test]"]
    assert len(test) == 4
    return test[3]


def _look_at_what_was_said(kind: str, name: str, said: str) -> None:
    assert re.search(rf"│ {kind} +│ {name} +│.*│ tokprune-{name} 0\.1\.0", said), said  # list
    assert re.search(rf"│ {kind} +│ {name} +│ +\d\d +│ +- │ tokprune-{name} ", said), said  # check: none broken
    assert "Report(" in said, said  # the README
    if kind != "adapter":
        assert re.search(rf"│.*{name}.*8 of 32", said), said  # bench
        assert (Path("runs") / name / "rows.jsonl").is_file()


def _look_at_its_tests(folder: str, said: str) -> None:
    (code,) = Path(folder).glob("tests/*.py")
    passed = re.findall(rf"^PASSED \S*tests/{code.name}::(\w+)", said, re.MULTILINE)
    own = re.findall(r"^def (test_\w+)", code.read_text(), re.MULTILINE)
    assert passed.count("test_conformance") >= 10, said  # a law each
    assert len(own) >= 4
    assert set(passed) == {"test_conformance", *own}, said


def _plain() -> list[str]:
    """Names of the components, in order."""
    return [name.removeprefix("tokprune-") for name in NAMES.values()]


def _run(command: list[str], variables: dict[str, str]) -> str:
    done = subprocess.run(command, env=variables, text=True, capture_output=True, timeout=280, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
