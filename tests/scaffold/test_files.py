"""What is written: which files, and that names of every shape leave them good Python."""

from __future__ import annotations

import ast
import tomllib

import pytest

from tokprune import InvalidValueError
from tokprune.registry import KINDS
from tokprune.scaffold import new_distribution
from tokprune.scaffold.names import LONGEST
from tokprune.scaffold.rendering import fill, import_line, used_names

LONG = ["a" * LONGEST, f"3d-{'c' * (LONGEST - 3)}"]
SHAPES = ["x", *LONG, "class", "none", "json", "votes", "tensor", "iterator", "mapping", "tinymodel", "tiny-classifier"]
"""Short, long, with digits, keywords, modules of the standard library, and what the templates themselves import."""


def own_code(kind: str, files: dict[str, str]) -> str:
    """The module that holds the component."""
    (name,) = [n for n in files if n.startswith("tokprune_") and not n.endswith(("__init__.py", ".typed", "model.py"))]
    return files[name]


@pytest.mark.parametrize("kind", KINDS)
def test_which_files(kind: str) -> None:
    files = set(new_distribution(kind, "far-away").files) - {"tokprune_far_away/tinymodel.py"}
    assert files == {
        ".github/workflows/test.yml",
        "README.md",
        "pyproject.toml",
        "tests/test_far_away.py",
        "tokprune_far_away/__init__.py",
        "tokprune_far_away/far_away.py",
        "tokprune_far_away/py.typed",
    }


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(InvalidValueError, match="'zebra' is no kind of component; the kinds are scorer, aggregator"):
        new_distribution("zebra", "far")


@pytest.mark.parametrize("kind", KINDS)
def test_the_metadata(kind: str) -> None:
    project = tomllib.loads(new_distribution(kind, "far-away").files["pyproject.toml"])["project"]
    assert project["name"] == "tokprune-far-away"
    assert project["requires-python"] == ">=3.11"
    assert project["dependencies"][0].startswith("tokprune>=")
    assert project["entry-points"]["tokprune"] == {"far-away": "tokprune_far_away"}
    assert any(each.startswith("pytest") for each in project["optional-dependencies"]["test"])
    assert project["license"] == "LicenseRef-Undecided"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SHAPES)
def test_whatever_the_name_nothing_is_shadowed(kind: str, name: str) -> None:
    distribution = new_distribution(kind, name)
    assert len(distribution.files) == len(new_distribution(kind, "far-away").files)
    for path, text in distribution.files.items():
        assert "<<" not in path + text.replace("${{", ""), path
        if path.endswith(".py"):
            bound = [each for node in ast.parse(text).body for each in _bound(node)]
            assert len(bound) == len(set(bound)), path


def _bound(node: ast.stmt) -> list[str]:
    """Names that a statement of a module binds."""
    if isinstance(node, ast.ImportFrom):
        return [alias.name for alias in node.names if node.module != "__future__"]
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    return []


@pytest.mark.parametrize("kind", KINDS)
def test_the_component_is_documented_for_the_list(kind: str) -> None:
    distribution = new_distribution(kind, "far-away")
    tree = ast.parse(distribution.files["tokprune_far_away/far_away.py"])
    (component,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    documentation = ast.get_docstring(component) or ""
    summary = documentation.partition("\n")[0]
    assert component.name == "FarAway"
    assert summary.endswith(".")
    assert len(summary) <= 120
    assert all(part in documentation for part in ("Args:", "Example:"))
    assert all(summary in distribution.files[name] for name in ("README.md", "pyproject.toml"))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"adapter"}))
def test_formula_and_source_have_their_place(kind: str) -> None:
    code = new_distribution(kind, "far-away").files["tokprune_far_away/far_away.py"]
    assert "Formula:" in code
    assert "(Write yours here: paper, section, equation.)" in " ".join(code.split())


def test_a_scorer_is_thirty_lines_of_code() -> None:
    """Counted without blank lines, comments and documentation."""
    tree = ast.parse(new_distribution("scorer", "far-away").files["tokprune_far_away/far_away.py"])
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    assert len(ast.unparse(tree).replace("\n\n", "\n").splitlines()) <= 30


def test_a_word_that_no_distribution_has_is_seen() -> None:
    assert fill("<<name>> <name>", {"name": "far"}) == "far <name>"
    with pytest.raises(KeyError, match="nmae"):
        fill("<<nmae>>", {"name": "far"})


def test_a_long_import_is_wrapped() -> None:
    assert import_line("a" * 100, "b" * 7) == f"from {'a' * 100} import {'b' * 7}"
    assert import_line("a" * 100, "b" * 8) == f"from {'a' * 100} import (\n    {'b' * 8},\n)"


def test_used_names_are_imported_or_defined() -> None:
    assert used_names("import a.b\nfrom c import d as e\nclass F:\n  def <<name>>(self): pass\n") == {"a.b", "e", "F"}
