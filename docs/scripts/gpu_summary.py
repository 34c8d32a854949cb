"""The summary of `measure_gpu.py`: surroundings, targets, steps, tables and plots, from what is on the disk."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tokprune.bench.speed.block import PRUNED, UNPRUNED
from tokprune.bench.speed.plot import plot_gain
from tokprune.bench.speed.quartiles import quartiles
from tokprune.bench.speed.row import SpeedRow
from tokprune.bench.speed.table import markdown
from tokprune.bench.speed.verdicts import blocks_of, mebibytes
from tokprune.bench.surroundings import device_name, package_version, processor_name

GAIN = 1.7
LARGE = 64
"""From this batch size on, so much is to be gained with image and query tokens of BLIP-2 OPT-2.7b."""
OVERHEAD = 1.03
READER_OVERHEAD = 1.10
READER_GAINS = {"llava-1.5-7b": 2.0, "qwen2.5-vl-7b": 1.5, "llama-3.2-11b-vision": 1.0}
"""Size -> what is to be gained at a quarter of the image tokens, by a short answer and a large batch."""


@dataclass(frozen=True)
class Outcome:
    """How a step went."""

    name: str
    state: str
    """done, skipped or failed."""
    seconds: float
    note: str


def write(folder: Path, device: str, outcomes: Sequence[Outcome]) -> None:
    """Writes summary.md and a plot for each model that is measured at several batch sizes."""
    rows = read_rows(folder / "rows.jsonl")
    parts = ["# On a GPU", _surroundings(device), "## Targets", _table(TARGETS, list(targets(rows)))]
    lines = [(each.name, each.state, f"{each.seconds:.0f}", each.note) for each in outcomes]
    parts += ["## Steps", _table(("step", "state", "seconds", "note"), lines)]
    for name, group in groups(rows).items():
        parts += [f"## {name}", markdown(group)]
        if len({row.batch_size for row in group}) > 1:
            plot_gain(group, folder / f"gain-{re.sub('[^a-z0-9.]+', '-', name)}.png")
    for log in sorted(folder.glob("*.txt")):
        parts += [f"## {log.stem.capitalize()}", f"```text\n{log.read_text(encoding='utf-8', errors='replace')}\n```"]
    (folder / "summary.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def read_rows(path: Path) -> list[SpeedRow]:
    """All rows of all models; of a block measured twice, both."""
    if not path.exists():
        return []
    return [SpeedRow.from_dict(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def groups(rows: Sequence[SpeedRow]) -> dict[str, list[SpeedRow]]:
    """Rows that may stand in one table: of one model, with as many beams."""
    found: dict[str, list[SpeedRow]] = {}
    for row in rows:
        beams = row.certificate["beams"]
        search = "greedy" if beams == 1 else f"{beams} beams"
        found.setdefault(f"{row.certificate['model']}, {search}", []).append(row)
    return found


TARGETS = ("what", "target", "measured", "")


def targets(rows: Sequence[SpeedRow]) -> Iterator[tuple[str, str, str, str]]:
    """What was promised, what was measured, and whether it is met."""
    for name, group in groups(rows).items():
        for block in blocks_of(group):
            if PRUNED not in block:
                continue
            pruned = block[PRUNED]
            where = f"{name}, batch {pruned.batch_size}, {pruned.label}"
            gain, overhead = quartiles(pruned.gain), quartiles(pruned.overhead)
            if list(pruned.targets) == ["query"]:
                met = _met(overhead.middle <= OVERHEAD)
                yield f"{where}: pruned / oracle", f"at most {OVERHEAD}", overhead.quotient, met
            elif name.startswith(tuple(READER_GAINS)):
                least = READER_GAINS[name.partition(":")[0].partition(",")[0]]
                met = _met(overhead.middle <= READER_OVERHEAD)
                yield f"{where}: pruned / oracle", f"at most {READER_OVERHEAD}", overhead.quotient, met
                if pruned.batch_size > 1:
                    yield f"{where}: unpruned / pruned", f"at least {least}", gain.quotient, _met(gain.middle >= least)
            elif len(pruned.targets) == 2 and pruned.batch_size >= LARGE and "opt" in name:
                yield f"{where}: unpruned / pruned", f"at least {GAIN}", gain.quotient, _met(gain.middle >= GAIN)
            yield _memory(where, block)


def _memory(where: str, block: Mapping[str, SpeedRow]) -> tuple[str, str, str, str]:
    pruned, unpruned = block[PRUNED].peak_memory, block[UNPRUNED].peak_memory
    measured = f"{mebibytes(pruned)} MiB, unpruned {mebibytes(unpruned)} MiB"
    met = "-" if pruned is None or unpruned is None else _met(pruned <= unpruned)
    return f"{where}: peak memory above the weights", "not above unpruned", measured, met


def _met(met: bool) -> str:
    return "met" if met else "missed"


def _surroundings(device: str) -> str:
    lines = [
        f"- device: {device_name(torch.device(device))}",
        f"- host: {processor_name()}, {torch.get_num_threads()} threads",
        f"- Python {platform.python_version()}, torch {torch.__version__}, transformers "
        f"{package_version('transformers')}, Triton {package_version('triton') or 'not installed'}",
    ]
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        lines.append(f"- {properties.total_memory / 2**30:.0f} GiB, capability {properties.major}.{properties.minor}")
        lines.append(f"- {_driver()}")
    return "\n".join(lines)


def _driver() -> str:
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.max.sm,power.limit", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "driver: not told"
    return f"driver, clock, greatest clock, power limit: {told}"


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    ruler = ["---"] * len(columns)
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in [columns, ruler, *lines])
