"""What is installed: the package with its marker for type checkers and its weights, and no tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from . import places


def test_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=places.ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
        weights = archive.getinfo("tokprune/zoo/blip2_shapes/model.safetensors")
    assert "tokprune/py.typed" in names
    assert {"config.json", "tokenizer.json"} <= {
        Path(n).name for n in names if n.startswith("tokprune/zoo/blip2_shapes/")
    }
    assert weights.file_size < 10_000_000
    templates = places.ROOT / "tokprune" / "scaffold" / "templates"
    assert {str(path.relative_to(places.ROOT)) for path in templates.rglob("*.txt")} <= names
    assert "tokprune/scaffold/templates/common/pyproject.toml.txt" in names
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"tokprune"}
