"""What is generated is what the generator makes today."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from . import places

SCRIPTS = places.DOCS / "scripts"
GENERATED = (
    "README.md",
    "docs/reference/command-line.md",
    "docs/reference/components.md",
    "docs/reference/laws.md",
    "docs/reference/capabilities.md",
    "docs/pictures/election.svg",
    "docs/pictures/pruned-call.svg",
)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The generator, in this process: a new one would import torch and transformers first."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    return __import__("pages")


# The capability table is made by running every adapter in every way, and the models' tests run them too.
@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] if "capabilities" in page else []) for page in GENERATED]
)
def test_a_generated_page_is_current(script: Any, page: str) -> None:
    _, difference = script.look(page)
    assert not difference, difference


def test_what_is_generated(script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["pages.py", "--list"])
    assert script.main() == 0
    assert set(capsys.readouterr().out.split()) == set(GENERATED)
    assert all(Path(places.ROOT / page).is_file() for page in GENERATED)


def test_a_page_that_fell_behind_is_seen_and_written_anew(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = "docs/reference/command-line.md"
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(script, "PAGES", {page: lambda: "new\n"})
    monkeypatch.setattr(sys, "argv", ["pages.py", "--check"])
    assert script.main() == 1
    assert f"{page} is not current; run `make pages`" in (said := capsys.readouterr().out)
    assert "+new" in said
    assert not (tmp_path / page).exists()
    monkeypatch.setattr(sys, "argv", ["pages.py", page])
    assert script.main() == 0
    assert (tmp_path / page).read_text() == "new\n"
    monkeypatch.setattr(sys, "argv", ["pages.py", "--check"])
    assert script.main() == 0
