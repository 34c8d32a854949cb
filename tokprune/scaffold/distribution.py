"""The files of a new distribution, and how they are written: all of them, or none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tokprune.errors import InvalidValueError
from tokprune.registry import KINDS
from tokprune.scaffold.names import Names
from tokprune.scaffold.rendering import fill, import_line, summary_of, template, used_names

_COMMON = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    ".github/workflows/test.yml": "workflow.yml",
    "<<package>>/__init__.py": "__init__.py",
    "<<package>>/py.typed": "py.typed",
}
"""File -> template, for every kind."""

_OWN = {
    "<<package>>/<<module>>.py": "component.py",
    "tests/test_<<module>>.py": "test.py",
}
"""File -> template, one for each kind."""

_EXTRA = {"adapter": {"<<package>>/tinymodel.py": "tinymodel.py"}}
"""What only some kinds have."""


@dataclass(frozen=True)
class Distribution:
    """A distribution that is not written yet.

    Attributes:
        names: what it and its parts are called.
        files: path in its folder -> text.
    """

    names: Names
    files: Mapping[str, str]

    def write(self, out: Path) -> Path:
        """Write it into a new folder in `out`, called as the distribution, and return that folder.

        Raises:
            InvalidValueError: there is something of that name, or it cannot be written.
        """
        folder = out / self.names.distribution
        if os.path.lexists(folder):
            raise InvalidValueError(
                f"{str(folder)!r} is there already, and nothing is overwritten; choose another --out"
            )
        try:
            out.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except OSError as error:
            raise InvalidValueError(
                f"cannot make the folder {str(folder)!r}: {error.strerror or error}; choose another --out"
            ) from error
        try:
            for name, text in self.files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", newline="\n")
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)  # it is ours: it was not there a moment ago
            if isinstance(error, OSError):
                raise InvalidValueError(
                    f"cannot write {str(folder)!r}: {error.strerror or error}: {error.filename!r}; choose another --out"
                ) from error
            raise
        return folder


def new_distribution(kind: str, name: str) -> Distribution:
    """A distribution with one component of a kind: its package, tests, README and workflow.

    Args:
        kind: "scorer", "aggregator", "selector", "reduction" or "adapter".
        name: what the component is called.

    Raises:
        InvalidValueError: `name` is no name.

    Example:
        >>> sorted(new_distribution("selector", "far").files)[:3]
        ['.github/workflows/test.yml', 'README.md', 'pyproject.toml']
    """
    if kind not in KINDS:
        raise InvalidValueError(f"{kind!r} is no kind of component; the kinds are {', '.join(KINDS)}")
    component = template(kind, "component.py")
    extra = _EXTRA.get(kind, {})
    used = used_names(component) | used_names(template("common", "__init__.py")) | {Path(path).stem for path in extra}
    names = Names.of(kind, name, used)
    words = vars(names) | {
        "summary": summary_of(component),
        "import": import_line(f"{names.package}.{names.module}", names.cls),
    }
    words["use"] = fill(template(kind, "use.md"), words).rstrip("\n")
    sources = [("common", _COMMON), (kind, _OWN), (kind, extra)]
    return Distribution(
        names,
        {
            fill(path, words): fill(template(folder, source), words)
            for folder, paths in sources
            for path, source in paths.items()
        },
    )
