"""Templates: files of this package in which `<<word>>` stands for what differs between distributions."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from importlib.resources import files

WIDTH = 120
"""Columns of a line of code."""

_WORD = re.compile(r"<<(\w+)>>")


def template(folder: str, name: str) -> str:
    """The text of a template: `name` without the `.txt` that keeps tools from reading it as code."""
    return files("tokprune.scaffold").joinpath("templates", folder, f"{name}.txt").read_text(encoding="utf-8")


def fill(text: str, words: Mapping[str, str]) -> str:
    """Put in the words; a `KeyError` names one that is not known.

    Example:
        >>> fill("a <<kind>> called <<name>>", {"kind": "scorer", "name": "far"})
        'a scorer called far'
    """
    return _WORD.sub(lambda match: words[match[1]], text)


def import_line(module: str, name: str) -> str:
    """`from module import name`, as formatters write it if it is too long for a line."""
    line = f"from {module} import {name}"
    return line if len(line) <= WIDTH else f"from {module} import (\n    {name},\n)"


def used_names(code: str) -> set[str]:
    """Names that a module imports or defines, those of the templates' own words aside."""
    tree = ast.parse(_WORD.sub("_", code))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
    return names - {"_"}


def summary_of(code: str) -> str:
    """First line of the documentation of a module's first class: what `tokprune list` will say."""
    tree = ast.parse(_WORD.sub("_", code))
    first = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    return (ast.get_docstring(first) or "").partition("\n")[0]
