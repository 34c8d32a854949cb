"""Links between pages lead somewhere, headings included."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from . import places

LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
OUTSIDE = ("https://", "http://", "mailto:")


def _links(page: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", FENCED.sub("", page.read_text(encoding="utf-8")))
    return [match["target"] for match in LINK.finditer(text)]


def _anchors(page: Path) -> set[str]:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


@pytest.mark.parametrize("page", places.pages(), ids=places.name)
def test_links_of(page: Path) -> None:
    for target in _links(page):
        if target.startswith(OUTSIDE):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        found = places.GENERATED.get(found, found)
        assert found.is_file(), f"{places.name(page)}: {target}"
        assert not anchor or anchor in _anchors(found), f"{places.name(page)}: no heading {anchor!r} in {path}"


def test_there_are_links_to_check() -> None:
    assert len(_links(places.ROOT / "README.md")) > 5


@pytest.mark.parametrize("page", places.pages(), ids=places.name)
def test_no_path_of_somebodys_machine(page: Path) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|work|tmp|Users)/", page.read_text(encoding="utf-8"))
