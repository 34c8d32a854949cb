"""The plugins in this repository use what is documented, as anybody's plugin has to."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tokprune

from . import places
from .test_completeness import DOCUMENTED

SOURCES = sorted(places.PLUGINS.glob("*/tokprune_*/*.py"))


def imported(path: Path) -> list[str]:
    """Full names of what a file imports from tokprune, and of what it reads of `tokprune` itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "tokprune":
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("tokprune.")]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tokprune":
            found.append(f"tokprune.{node.attr}")
    return found


def is_documented(name: str) -> bool:
    """Whether it stands in the API pages: by itself, or with its module. All of `tokprune.__all__` does."""
    parts = name.split(".")
    return parts[1] in tokprune.__all__ or any(
        ".".join(parts[:count]) in DOCUMENTED for count in range(2, len(parts) + 1)
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(places.PLUGINS).as_posix())
def test_a_plugin_uses_documented_names_only(path: Path) -> None:
    names = imported(path)
    assert [name for name in names if not is_documented(name) or "._" in name] == []


def test_there_are_plugins_and_they_use_something() -> None:
    assert {path.parts[-3] for path in SOURCES} >= {"tokprune-diversity", "tokprune-committees", "tokprune-vision"}
    assert sum(len(imported(path)) for path in SOURCES) > 20
    assert not is_documented("tokprune.registry.NAME")
    assert not is_documented("tokprune.nothing")
