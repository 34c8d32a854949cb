"""Counts what a reader of the engine has to open, by running it: `python docs/scripts/count_engine.py --label before`.

For each family a tiny model is pruned and called once, and Python's profiler notes each function of tokprune that is
entered. Beside that: lines of `tokprune/adapters/`, and the files that name a family, which is what a new family has
to touch by hand. Writes docs/results/engine/LABEL.json, and a table of all labels into docs/results/engine/note.md.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import platform
import re
import subprocess
import sys
import threading
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

os.environ["TOKPRUNE_PLUGINS"] = ""

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tokprune"
OUT = ROOT / "docs" / "results" / "engine"
NO_FUNCTIONS = ("<module>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")
"""Code that Python runs as a function and that no reader counts as one."""
GENERATES = ("blip2", "llava", "qwen2-5-vl", "whisper", "mllama")
"""Families whose `generate` is counted too."""
BY_HAND = ("vipllava", "llava-next", "llava-onevision", "internvl", "paligemma", "mistral3", "aya-vision", "idefics3")
"""Families that are one of many of their kind: the files that name them are what a new one has to touch."""
GENERATED = ("README.md", "CHANGELOG.md", "docs/reference", "docs/results", "docs/pictures", "docs/scripts")
"""Files that are generated, or that tell of a family and would work without it."""


def entered(call: Callable[[], Any]) -> dict[str, int]:
    """How many functions of tokprune a call enters, by file; those of `tokprune.testing` do not count."""
    found: set[tuple[str, int, str]] = set()

    def note(frame: Any, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)) and code.co_name not in NO_FUNCTIONS:
            found.add((code.co_filename, code.co_firstlineno, code.co_qualname))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    places = sorted(Path(path).relative_to(ROOT).as_posix() for path, _, _ in found)
    return dict(Counter(place for place in places if not place.startswith("tokprune/testing")))


def families() -> Iterator[dict[str, Any]]:
    """What one pruned call enters: each family, on its first target, with its own default policy at keep=0.5."""
    import torch

    from tokprune import apply
    from tokprune.registry import default_registry
    from tokprune.testing import tiny

    for entry in default_registry().entries("adapter"):
        model, inputs = tiny(entry.name)
        scorer = "catp-vote" if entry.name == "blip2" else None
        with torch.no_grad():
            applied = entered(lambda model=model, scorer=scorer: apply(model, scorer=scorer, keep=0.5).remove())
            with apply(model, scorer=scorer, keep=0.5):
                model(**inputs)  # the first call imports and caches
                called = entered(lambda model=model, inputs=inputs: model(**inputs))
                row = {"family": entry.name, "scorer": scorer or "the family's own default"}
                if entry.name in GENERATES:
                    asked = {name: value for name, value in inputs.items() if not name.startswith("decoder_")}
                    generate = lambda model=model, asked=asked: model.generate(**asked, max_new_tokens=3)  # noqa: E731
                    row["generate"] = entered(generate)
        yield row | {"apply": applied, "call": called}


def lines_of(folder: Path) -> dict[str, int]:
    """Files, lines, lines of code (no blank lines, comments and docstrings), and of those what is not an import."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))]
    return {
        "files": len(texts),
        "lines": sum(len(text.splitlines()) for text in texts),
        "code": sum(map(_code_lines, texts)),
        "without imports": sum(_code_lines(text) - _import_lines(text) for text in texts),
    }


def _code_lines(text: str) -> int:
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped and token.type != tokenize.ENDMARKER:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            code -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


def _import_lines(text: str) -> int:
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in imports)


def naming(family: str) -> list[str]:
    """The files of the repository that name a family, except those that are generated or only tell of it."""
    pattern = re.compile(
        "[-_ ]?".join(map(re.escape, family.split("-"))) + r"(?![-_ ]?(next|onevision))", re.IGNORECASE
    )
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = []
    for name in listed.splitlines():
        by_hand = not name.startswith(GENERATED) and name.endswith((".py", ".md", ".toml", ".yml"))
        if by_hand and pattern.search((ROOT / name).read_text(encoding="utf-8")):
            found.append(name)
    return found


def provenance() -> dict[str, str]:
    """Where, when and of what."""
    from tokprune.bench.surroundings import package_version, processor_name

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {
        "commit": commit.stdout.strip(),
        **{name: package_version(name) for name in ("tokprune", "torch", "transformers", "timm")},
        "python": platform.python_version(),
        "machine": processor_name(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": f"python docs/scripts/count_engine.py {' '.join(sys.argv[1:])}".strip(),
    }


def count() -> dict[str, Any]:
    """All that is counted."""
    return {
        "provenance": provenance(),
        "adapters": lines_of(PACKAGE / "adapters"),
        "engine": lines_of(PACKAGE),
        "families": list(families()),
        "by hand": {family: naming(family) for family in BY_HAND},
    }


def main() -> None:
    """Count, write, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--label", default="after", help="name of the file with what was counted, such as before")
    parser.add_argument("--only-table", action="store_true", help="write the note from what was counted earlier")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    if not arguments.only_table:
        text = json.dumps(count()) + "\n"
        (OUT / f"{arguments.label}.json").write_text(text, encoding="utf-8")
    note = render({label: _read(label) for label in ("before", "after") if (OUT / f"{label}.json").exists()})
    (OUT / "note.md").write_text(note, encoding="utf-8")
    print(note)


def _read(label: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((OUT / f"{label}.json").read_text(encoding="utf-8"))
    return found


def render(counted: dict[str, dict[str, Any]]) -> str:
    """The note: sums first, then a row for each family."""
    labels = list(counted)
    lines = [
        "# What one pruned call enters",
        "",
        "Files and functions of tokprune that Python enters, counted by its profiler on the tiny models: in `apply`",
        "with `remove`, in one pruned forward (the second: the first one imports and caches), and in one pruned",
        "`generate` of three tokens. A file counts once; `tokprune.testing` does not count.",
        "",
        f"| what | {' | '.join(labels)} |",
        f"| --- | {' | '.join('---:' for _ in labels)} |",
    ]
    for name, value in _sums():
        lines.append(f"| {name} | {' | '.join(str(value(counted[label])) for label in labels)} |")
    lines += [
        "",
        "The goals: at most 25 files for BLIP-2, 5,200 lines in `tokprune/adapters/` (2,500 of code), 3 files by hand",
        "for a new family. Where the table says more, they are not reached.",
    ]
    columns = [f"{what}, {label}" for what in ("apply", "call", "generate") for label in labels]
    lines += [
        "",
        "Files / functions:",
        "",
        f"| family | {' | '.join(columns)} |",
        f"| --- | {' | '.join('---:' for _ in columns)} |",
    ]
    rows = {label: {row["family"]: row for row in counted[label]["families"]} for label in labels}
    for family in dict.fromkeys(name for label in labels for name in rows[label]):
        cells = [
            _cell(rows[label].get(family, {}).get(what)) for what in ("apply", "call", "generate") for label in labels
        ]
        lines.append(f"| {family} | {' | '.join(cells)} |")
    for label in labels:
        lines += [
            "",
            f"Provenance, {label}: {', '.join(f'{k} {v}' for k, v in counted[label]['provenance'].items())}.",
        ]
    return "\n".join(lines) + "\n"


def _cell(functions: Mapping[str, int] | None) -> str:
    return "-" if functions is None else f"{len(functions)} / {sum(functions.values())}"


def _sums() -> list[tuple[str, Callable[[dict[str, Any]], Any]]]:
    def of_calls(counted: dict[str, Any]) -> list[int]:
        return sorted(len(row["call"]) for row in counted["families"])

    def of_blip2(counted: dict[str, Any]) -> int:
        return next(len(row["call"]) for row in counted["families"] if row["family"] == "blip2")

    def by_hand(counted: dict[str, Any]) -> str:
        numbers = sorted(len(names) for names in counted["by hand"].values())
        return f"{numbers[0]} to {numbers[-1]}, median {median(numbers):g}"

    return [
        ("files that a pruned BLIP-2 call enters (catp-vote)", of_blip2),
        ("the same, all families", lambda counted: f"{of_calls(counted)[0]} to {of_calls(counted)[-1]}"),
        ("files of `tokprune/adapters/`", lambda counted: counted["adapters"]["files"]),
        ("its lines", lambda counted: counted["adapters"]["lines"]),
        ("its lines of code, without blank lines, comments, docstrings", lambda counted: counted["adapters"]["code"]),
        ("the same without imports", lambda counted: counted["adapters"]["without imports"]),
        ("lines of code of `tokprune/`", lambda counted: counted["engine"]["code"]),
        ("files that name a family (what a new one touches by hand)", by_hand),
    ]


if __name__ == "__main__":
    main()
