"""Where the documentation is."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = {DOCS / "index.md": ROOT / "README.md", DOCS / "changelog.md": ROOT / "CHANGELOG.md"}
"""Pages that mkdocs makes at build time -> the file they are made from."""


PLUGINS = ROOT / "plugins"


def pages() -> list[Path]:
    """Every Markdown file that people read, READMEs included; measured results have no prose to check."""
    results = DOCS / "results"
    written = [path for path in DOCS.rglob("*.md") if results not in path.parents or path.parent == results]
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(written), *sorted(PLUGINS.glob("*/README.md"))]


def name(page: Path) -> str:
    """How a test calls a page."""
    return page.relative_to(ROOT).as_posix()
