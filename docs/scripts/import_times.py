"""How long tokprune takes to import and to list what is installed, with plugins and without.

make build/plugins/stamp && python docs/scripts/import_times.py writes docs/results/import-times/
"""

from __future__ import annotations

import csv
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from tokprune.bench.surroundings import package_version, processor_name

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / "build" / "plugins"
OUT = ROOT / "docs" / "results" / "import-times"
ROUNDS = 15
TOKPRUNE = str(Path(sys.executable).with_name("tokprune"))
LIST = "import tokprune; tokprune.list_scorers()"
COMMANDS: dict[str, Sequence[str]] = {
    "python, nothing": (sys.executable, "-c", "pass"),
    "import torch": (sys.executable, "-c", "import torch"),
    "import tokprune": (sys.executable, "-c", "import tokprune"),
    "the same, then tokprune.list_scorers()": (sys.executable, "-c", LIST),
    "tokprune --help": (TOKPRUNE, "--help"),
    "tokprune list": (TOKPRUNE, "list"),
}
"""What is timed -> the command."""


def seconds(command: Sequence[str], plugins: bool) -> float:
    """Wall time of one process."""
    environment = os.environ | {"PYTHONPATH": str(INSTALLED) if plugins else ""}
    environment.pop("TOKPRUNE_PLUGINS", None)
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True, cwd=ROOT.parent)
    return time.perf_counter() - started


def main() -> None:
    """Time every command in turns, with the plugins and without, and write what came out."""
    plugins = sorted(path.name.partition("-")[0] for path in INSTALLED.glob("*.dist-info"))
    if len(plugins) < 3:
        raise SystemExit(f"expected the three plugins in {INSTALLED.relative_to(ROOT)}; run: make build/plugins/stamp")
    cases = [(name, with_plugins) for name in COMMANDS for with_plugins in (False, True)]
    for case in cases:  # the first time reads from the disk
        seconds(COMMANDS[case[0]], case[1])
    times: dict[tuple[str, bool], list[float]] = {case: [] for case in cases}
    for _ in range(ROUNDS):
        for case in cases:
            times[case].append(seconds(COMMANDS[case[0]], case[1]))
    OUT.mkdir(parents=True, exist_ok=True)
    with (OUT / "times.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["what", "plugins", "median seconds", "fastest", "slowest", "rounds"])
        for (name, with_plugins), found in times.items():
            rows.writerow([name, 3 if with_plugins else 0, *(f"{f(found):.3f}" for f in (median, min, max)), ROUNDS])
    (OUT / "note.md").write_text(_note(times, plugins), encoding="utf-8")
    print((OUT / "note.md").read_text(encoding="utf-8"))


def _note(times: dict[tuple[str, bool], list[float]], plugins: Sequence[str]) -> str:
    lines = [
        f"| {name} | {median(times[name, False]):.2f} ({min(times[name, False]):.2f} to {max(times[name, False]):.2f}) "
        f"| {median(times[name, True]):.2f} ({min(times[name, True]):.2f} to {max(times[name, True]):.2f}) |"
        for name in COMMANDS
    ]
    versions = ", ".join(f"{name} {package_version(name)}" for name in ("tokprune", "torch"))
    return "\n".join(
        [
            "# Import times",
            "",
            "Wall time of a process in seconds, median of "
            f"{ROUNDS} (fastest to slowest), in turns, after one run that reads from the disk. "
            f"Plugins: {', '.join(plugins)}.",
            "",
            "| what | no plugins | three plugins |",
            "| --- | ---: | ---: |",
            *lines,
            "",
            f"Birth certificate: {processor_name()}, {versions}, Python {platform.python_version()}, "
            f"{datetime.now(UTC).isoformat(timespec='seconds')}; `python docs/scripts/import_times.py`.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
