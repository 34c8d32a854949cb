"""The command in an empty folder, and the environment of whoever runs what it printed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokprune.registry import default_registry


@pytest.fixture
def tokprune(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Runs the command line in an empty folder; gives its exit code and what it printed."""
    from typer.testing import CliRunner

    from tokprune.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes a distribution that registers a scorer of some name look installed."""

    def install(distribution: str, scorer: str) -> None:
        site = tmp_path / "site"
        info = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text("[tokprune]\nelse = someone_else\n")
        (site / "someone_else.py").write_text(
            "import tokprune\nfrom tokprune.scorers import First\n\n\n"
            f"@tokprune.hookimpl\ndef register_scorers():\n    return {{{scorer!r}: First}}\n"
        )
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.setenv("TOKPRUNE_PLUGINS", "else")
        default_registry.cache_clear()

    yield install
    default_registry.cache_clear()
    import sys

    sys.modules.pop("someone_else", None)


def environment(site: Path, *plugins: str) -> dict[str, str]:
    """Of a process that finds what is installed in `site`, and these plugins only."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TOKPRUNE_PLUGINS": ",".join(plugins),
        "TOKPRUNE_STRICT_PLUGINS": "1",
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PIP_TARGET": str(site),  # beside the environment, not into it, and nobody is asked for anything
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one the wrong way round
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
