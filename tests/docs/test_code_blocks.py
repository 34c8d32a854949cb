"""The code of the README and of every page runs as it stands."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tokprune import PluginWarning
from tokprune.registry import default_registry

from . import places
from .blocks import Block, blocks_of, commands_of, execute, is_executed

WITH_CODE = [page for page in places.pages() if any(map(is_executed, blocks_of(page)))]
SLOW = ("first-scorer.md", "choose-a-keep.md", "measure-speed.md")
"""They build a distribution, or measure."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a page's `pip install` goes; forgotten afterwards, modules and plugins included."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delenv("TOKPRUNE_PLUGINS", raising=False)
    known = set(sys.modules)
    yield folder
    for module in set(sys.modules) - known:
        if str(folder) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]
    default_registry.cache_clear()


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page.name in SLOW else []) for page in WITH_CODE],
    ids=places.name,
)
def test_page_runs(page: Path, tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    (folder / "plugins").symlink_to(places.PLUGINS)
    monkeypatch.chdir(folder)
    module = ModuleType("reader")  # a module in earnest: dataclasses and pickle look their classes up in it
    monkeypatch.setitem(sys.modules, "reader", module)
    namespace: dict[str, Any] = vars(module)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PluginWarning)
        blocks = list(filter(is_executed, blocks_of(page)))
        if places.PLUGINS in page.parents:
            blocks.insert(0, Block(page, 1, "console", None, f"$ pip install ./plugins/{page.parent.name}\n"))
        for block in blocks:
            execute(block, namespace, folder, site)
            if block.language == "console":  # which may have installed a plugin
                importlib.invalidate_caches()
                default_registry.cache_clear()


def test_readme_shows_the_idea_in_its_first_lines() -> None:
    first = blocks_of(places.ROOT / "README.md")[0]
    assert first.language == "python"
    assert first.line + first.code.count("\n") <= 15
    assert all(word in first.code for word in ("tokprune.apply(", ".generate(", ".remove()"))


def test_the_first_scorer_takes_thirty_lines_in_all() -> None:
    files = [block for block in blocks_of(places.DOCS / "tutorials" / "first-scorer.md") if block.title]
    assert [Path(block.title or "").name for block in files] == [
        "tokprune_peak.py",
        "pyproject.toml",
        "test_conformance.py",
    ]
    lines = sum(block.code.count("\n") for block in files[:2])
    assert lines <= 30
    assert f"These are all the files there have to be: {lines} lines." in files[0].page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["tutorials/first-scorer.md", "concepts.md"])
def test_pages_that_teach_have_code(page: str) -> None:
    assert places.DOCS / page in WITH_CODE


def test_a_block_that_fails_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n\n```python\nassert 1 == 2\n```\n")
    (block,) = blocks_of(page)
    with pytest.raises(AssertionError) as caught:
        execute(block, {}, tmp_path, tmp_path)
    assert caught.traceback[-1].lineno + 1 == 4


def test_output_that_differs_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"

    def block(expected: str) -> Block:
        return Block(page, 1, "console", None, f"$ echo one two\n{expected}\n")

    execute(block("one ..."), {}, tmp_path, tmp_path)
    with pytest.raises(AssertionError, match="but it prints"):
        execute(block("three"), {}, tmp_path, tmp_path)
    with pytest.raises(AssertionError):
        execute(Block(page, 1, "console", None, "$ false\n"), {}, tmp_path, tmp_path)


def test_console_blocks_have_commands() -> None:
    for page in places.pages():
        for block in blocks_of(page):
            assert block.language != "console" or commands_of(block.code), f"{page}:{block.line}"
