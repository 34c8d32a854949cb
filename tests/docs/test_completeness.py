"""Nothing public is undocumented."""

from __future__ import annotations

import inspect
import re

import pytest

import tokprune
from tokprune import hookspecs
from tokprune.registry import KINDS, default_registry

from . import places

API = "\n".join(path.read_text(encoding="utf-8") for path in sorted((places.DOCS / "api").glob("*.md")))
DOCUMENTED = set(re.findall(r"^::: (\S+)", API, re.MULTILINE))
HOOKS = [name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("register_")]


@pytest.mark.parametrize("name", tokprune.__all__)
def test_public_name_has_a_place_in_the_api_pages(name: str) -> None:
    thing = getattr(tokprune, name)
    assert f"tokprune.{name}" in DOCUMENTED or getattr(thing, "__module__", "") in DOCUMENTED


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_documented(hook: str) -> None:
    assert f"tokprune.hookspecs.{hook}" in DOCUMENTED


def test_there_is_a_hook_for_every_kind_of_component() -> None:
    assert sorted(HOOKS) == sorted(f"register_{kind}s" for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_built_in_component_is_in_the_index(kind: str) -> None:
    index = (places.DOCS / "reference" / "components.md").read_text(encoding="utf-8")
    section = index.split(f"## {kind.capitalize()}s\n")[1].split("\n## ")[0]
    for entry in default_registry().entries(kind):
        if entry.distribution == "tokprune":
            assert f"| `{entry.name}` |" in section


def test_every_scorer_is_in_the_readme() -> None:
    readme = (places.ROOT / "README.md").read_text(encoding="utf-8").split("## Scorers")[1].split("\n## ")[0]
    for entry in default_registry().entries("scorer"):
        if entry.distribution == "tokprune":
            assert f"`{entry.name}`" in readme


def test_every_decision_is_listed() -> None:
    index = (places.DOCS / "decisions" / "index.md").read_text(encoding="utf-8")
    for path in (places.DOCS / "decisions").glob("[0-9]*.md"):
        assert f"({path.name})" in index
