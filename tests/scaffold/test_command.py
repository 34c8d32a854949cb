"""`tokprune new`: what it says, and what it refuses; then nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def said(result: Any) -> str:
    """All that was printed, on one line."""
    return " ".join(result.output.split())


def test_it_writes_a_folder_and_says_what_is_next(tokprune: Command) -> None:
    result = tokprune("new", "scorer", "far-away")
    assert result.exit_code == 0
    folder = Path("tokprune-far-away")
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    shown = {line.strip() for line in result.output.splitlines() if line.startswith("  ") and "#" not in line}
    assert found == shown
    assert "tokprune_far_away/far_away.py" in found
    assert "choose a licence" in said(result)
    for step in ("pip install -e", "tokprune list far-away", "tokprune check tokprune-far-away", "tokprune bench"):
        assert f"  {step}" in result.output


def test_into_another_folder(tokprune: Command) -> None:
    result = tokprune("new", "selector", "far-away", "--out", "some where/else")
    assert result.exit_code == 0
    assert (Path("some where/else") / "tokprune-far-away" / "pyproject.toml").is_file()
    assert "pip install -e 'some where/else/tokprune-far-away[test]'" in result.output
    assert "pytest 'some where/else/tokprune-far-away'" in result.output
    assert [path.name for path in Path().iterdir()] == ["some where"]


def test_the_distribution_may_be_named_instead(tokprune: Command) -> None:
    assert tokprune("new", "scorer", "tokprune-far").exit_code == 0
    assert 'return {"far": Far}' in Path("tokprune-far/tokprune_far/__init__.py").read_text()


@pytest.mark.parametrize("there", ["folder", "file", "link to nowhere"])
def test_nothing_is_overwritten(tokprune: Command, there: str) -> None:
    path = Path("tokprune-far")
    if there == "folder":
        path.mkdir()
        (path / "README.md").write_text("mine")
    elif there == "file":
        path.write_text("mine")
    else:
        path.symlink_to("nowhere")
    result = tokprune("new", "scorer", "far")
    assert result.exit_code == 2
    assert "'tokprune-far' is there already, and nothing is overwritten; choose another --out" in said(result)
    assert not Path("nowhere").exists()
    if there != "link to nowhere":
        assert next(iter(path.iterdir()) if path.is_dir() else iter([path])).read_text() == "mine"
        assert len(list(Path().rglob("*"))) == (2 if there == "folder" else 1)


def test_a_place_that_is_no_folder(tokprune: Command) -> None:
    Path("file").write_text("mine")
    result = tokprune("new", "scorer", "far", "--out", "file")
    assert result.exit_code == 2
    assert "cannot make the folder 'file/tokprune-far'" in said(result)
    assert Path("file").read_text() == "mine"


def test_all_is_written_or_nothing(tokprune: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def no_space_for_the_third(path: Path, *arguments: Any, **named: Any) -> int:
        written.append(path)
        if len(written) == 3:
            raise OSError("no space left")
        return write(path, *arguments, **named)

    write = Path.write_text
    monkeypatch.setattr(Path, "write_text", no_space_for_the_third)
    result = tokprune("new", "scorer", "far")
    assert result.exit_code == 2
    assert "cannot write 'tokprune-far': no space left" in said(result)
    assert len(written) == 3
    assert not list(tmp_path.iterdir())


def test_a_kind_that_there_is_not(tokprune: Command, tmp_path: Path) -> None:
    result = tokprune("new", "scorers", "far")
    assert result.exit_code == 2
    assert "there is no kind 'scorers'; did you mean 'scorer'?" in said(result)
    assert "The kinds are scorer, aggregator, selector, reduction, adapter" in said(result)
    assert "did you mean" not in said(tokprune("new", "zebra", "far"))
    assert not list(tmp_path.iterdir())


def test_what_is_no_name(tokprune: Command, tmp_path: Path) -> None:
    result = tokprune("new", "scorer", "../Far")
    assert result.exit_code == 2
    assert "'../Far' is not a name; use lower-case words with hyphens between them, such as my-scorer" in said(result)
    assert not list(tmp_path.iterdir())
    assert not (tmp_path.parent / "tokprune-Far").exists()


def test_a_name_that_ships_with_tokprune(tokprune: Command, tmp_path: Path) -> None:
    result = tokprune("new", "scorer", "focus")
    assert result.exit_code == 2
    assert "there is a scorer 'focus' already, from tokprune 0.1.0" in said(result)
    assert not list(tmp_path.iterdir())
    assert tokprune("new", "selector", "focus").exit_code == 0  # kinds do not get into each other's way


def test_a_name_that_another_plugin_has(tokprune: Command, installed: Callable[[str, str], None]) -> None:
    installed("some-plugin", "far")
    result = tokprune("new", "scorer", "far")
    assert result.exit_code == 2
    assert "there is a scorer 'far' already, from some-plugin 1.2" in said(result)
    assert tokprune("new", "scorer", "farther").exit_code == 0


def test_a_distribution_that_is_installed(tokprune: Command, installed: Callable[[str, str], None]) -> None:
    installed("tokprune-far", "something-else")
    result = tokprune("new", "scorer", "far")
    assert result.exit_code == 2
    assert "tokprune-far 1.2 is installed already, and a new one would take its place" in said(result)
    assert "pip uninstall tokprune-far" in said(result)
    assert not Path("tokprune-far").exists()
