"""What mkdocs does at build time: pages that live elsewhere in the repository, and the measured results."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PLACE = "<!-- results -->"


def on_config(config: Any) -> Any:
    """Pages that others add are in the navigation as soon as they are there."""
    if (ROOT / "docs" / "zoo.md").exists():
        at = next(i for i, entry in enumerate(config.nav) if "Results" in entry)
        config.nav.insert(at, {"The bundled model": "zoo.md"})
    decisions = next(entry["Decisions"] for entry in config.nav if "Decisions" in entry)
    decisions += sorted(f"decisions/{path.name}" for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    config.watch += [str(ROOT / name) for name in ("README.md", "CHANGELOG.md", "tokprune", "plugins")]
    return config


def on_files(files: Files, config: Any) -> Files:
    """README and CHANGELOG are included, not copied; parts of the results page are no pages of their own."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for old, new in (("](docs/", "]("), ("](CHANGELOG.md", "](changelog.md"), ("](LICENSE)", "](license.md)")):
        readme = readme.replace(old, new)
    readme = re.sub(r"(\]\(plugins/[\w-]+/)README\.md", r"\1index.md", readme)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    licence = f"# License\n\n```text\n{(ROOT / 'LICENSE').read_text(encoding='utf-8').strip(chr(10))}\n```\n"
    for name, content in (("index.md", readme), ("changelog.md", changelog), ("license.md", licence)):
        files.append(File.generated(config, name, content=content))
    for path in _of_plugins():
        name = path.relative_to(ROOT).as_posix().replace("README.md", "index.md")
        files.append(File.generated(config, name, abs_src_path=str(path)))
    for file in list(files.documentation_pages()):
        if file.src_uri.startswith("results/") and file.src_uri != "results/index.md":
            files.remove(file)
    return files


def _of_plugins() -> list[Path]:
    """README and measured results of each plugin."""
    readmes = sorted((ROOT / "plugins").glob("*/README.md"))
    kinds = (".md", ".csv", ".png", ".svg")
    found = [path for readme in readmes for path in sorted(readme.parent.glob("results/**/*")) if path.suffix in kinds]
    return readmes + found


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Every folder and table below docs/results/ becomes a section of the results page; links of plugins are mended."""
    if page.file.src_uri.startswith("plugins/"):
        return re.sub(r"(\]\([^)#\s]*)README\.md", r"\1index.md", markdown).replace("](../../docs/", "](../../")
    if page.file.src_uri != "results/index.md":
        return markdown
    sections = [_section(path) for path in sorted(RESULTS.iterdir()) if path.name != "index.md"]
    found = [section for section in sections if section]
    return markdown.replace(PLACE, "\n\n".join(found) or "*No results have been recorded yet.*")


def _section(path: Path) -> str:
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".md":
        text = _deeper(path.read_text(encoding="utf-8"))
        return text if text.startswith("## ") else f"## {_title(path)}\n\n{text}"
    if path.suffix == ".csv" and not path.with_suffix(".md").exists():
        return f"## {_title(path)}\n\n{_table(path)}\n\n[{path.name}]({path.name})"
    return ""


def _folder(folder: Path) -> str:
    """What `tokprune bench --out` writes, behind the words of a note.md if there is one."""
    parts = [f"## {_title(folder)}"]
    note = folder / "note.md"
    if note.exists():
        text = _deeper(note.read_text(encoding="utf-8"))
        parts = [text] if text.startswith("## ") else [*parts, text]
    for picture in sorted([*folder.glob("*.png"), *folder.glob("*.svg")]):
        parts.append(f"![{_title(folder)}, {picture.stem}]({folder.name}/{picture.name})")
    for part in sorted(folder.glob("*.md")):
        if part != note:
            parts.append(_deeper(part.read_text(encoding="utf-8")))
    links = [f"[{data.name}]({folder.name}/{data.name})" for data in sorted(folder.glob("*.csv"))]
    return "\n\n".join([*parts, *([f"Data: {', '.join(links)}"] if links else [])])


def _deeper(text: str) -> str:
    """Headings one level down, to fit below the page's own."""
    fenced = False
    lines = []
    for line in text.strip().split("\n"):
        fenced ^= line.startswith("```")
        lines.append(f"#{line}" if line.startswith("#") and not fenced else line)
    return "\n".join(lines)


def _title(path: Path) -> str:
    return path.stem.replace("-", " ").replace("_", " ").capitalize()


def _table(path: Path) -> str:
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = list(csv.reader(file))
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
