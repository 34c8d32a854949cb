"""Votes from queries and keys: the fused kernels and the torch path against maps that are sorted, and against a loop.

python -m tokprune.bench.kernels --batch-size 32 --layers 6 --heads 12 --queries 32 --keys 257
"""

from __future__ import annotations

import csv
import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import Progress
from rich.table import Table
from torch import Tensor

from tokprune.bench.console import stderr, stdout
from tokprune.bench.output import check_folder, results_folder
from tokprune.bench.rivals import (
    Count,
    Layer,
    Side,
    points_by,
    points_by_double_argsort,
    points_row_by_row,
    total_by,
    total_of_maps,
)
from tokprune.bench.speed.clock import Kind, clock_for
from tokprune.bench.speed.memory import peak_memory
from tokprune.bench.speed.quartiles import quartiles
from tokprune.bench.speed.turns import in_turns
from tokprune.bench.surroundings import device_name, package_version
from tokprune.errors import BackendError, InvalidValueError

FUSED, TORCH, MAPS, LOOP = "fused (triton)", "torch path", "maps, sorted twice", "loop over rows"
SUMMED = "maps, summed"
TOLERANCE = 0.002
"""By what share of all ballots points may differ: two candidates that are equal to the last bits may change places,
and sorting twice breaks ties by position."""
_WARM_UP = 2


class What(StrEnum):
    """What is counted."""

    points = "points"
    total = "total"


class Candidates(StrEnum):
    """Which side is ranked."""

    query = "query"
    key = "key"


class ClockKind(StrEnum):
    """Which time is taken."""

    wall = "wall"
    cpu = "cpu"


@dataclass(frozen=True)
class Row:
    """One way of counting, measured. `seconds` has one entry per round, all ways measured in turns."""

    way: str
    what: str
    candidates: str
    batch_size: int
    layers: int
    heads: int
    queries: int
    keys: int
    dim: int
    seconds: list[float]
    captured_seconds: float | None
    """The same replayed as a CUDA graph: the device alone, without Python. None on a CPU, or where it was not tried."""
    peak_bytes: int | None
    """The most that was allocated at once above inputs: asked of CUDA's allocator, or of torch's profiler on a CPU."""
    difference: float
    """Largest difference from the torch path, as a share of all ballots."""
    device: str
    dtype: str
    clock: str
    tokprune: str
    torch: str
    triton: str
    python: str
    threads: int
    date: str
    command: str


def make_layers(
    count: int, batch_size: int, heads: int, queries: int, keys: int, dim: int, dtype: torch.dtype, device: torch.device
) -> list[Layer]:
    """Random queries and keys, laid out as projections lay them out, with logits that spread as trained ones do."""
    generator = torch.Generator().manual_seed(0)

    def draw(tokens: int) -> Tensor:
        made = torch.randn(batch_size, tokens, heads, dim, generator=generator) * 1.5
        return made.to(device=device, dtype=dtype).transpose(1, 2)

    return [(draw(queries), draw(keys)) for _ in range(count)]


def ways(layers: Sequence[Layer], what: str, candidates: Side, loop: bool) -> dict[str, Count]:
    """Name -> way of counting, as far as it can be had here."""
    if what == "total":
        found = {FUSED: total_by("triton"), TORCH: total_by("reference"), SUMMED: total_of_maps}
    else:
        found = {FUSED: points_by("triton"), TORCH: points_by("reference"), MAPS: points_by_double_argsort}
        found |= {LOOP: points_row_by_row} if loop else {}
    try:
        found[FUSED](layers[:1], candidates)
    except BackendError:
        del found[FUSED]
    return found


def compare(
    layers: Sequence[Layer],
    *,
    what: str = "points",
    candidates: Side = "query",
    rounds: int = 10,
    loop: bool = True,
    loop_rounds: int = 2,
    clock: Kind = "wall",
    round_done: Any = lambda: None,
) -> list[Row]:
    """Time every way of counting in turns, take its memory, and check that all agree.

    Args:
        layers: queries and keys of each layer.
        what: "points" or "total".
        candidates: which side is ranked.
        rounds: measured calls of each way.
        loop: whether to time the loop over rows, which takes seconds.
        loop_rounds: measured calls of the loop.
        clock: "wall", or "cpu" for the time that the process was given.
        round_done: called after every measured call, for progress bars.

    Raises:
        InvalidValueError: two ways of counting disagree.
    """
    query, key = layers[0]
    device = query.device
    found = ways(layers, what, candidates, loop)
    ballots = len(layers) * query.shape[1] * (key if candidates == "query" else query).shape[2]
    expected = found[TORCH](layers, candidates)
    differences = {
        way: float((count(layers, candidates) - expected).abs().max()) / ballots for way, count in found.items()
    }
    wrong = {way: share for way, share in differences.items() if share > TOLERANCE}
    if wrong:
        raise InvalidValueError(f"kernels: counts differ from those of {TORCH!r} by these shares of ballots: {wrong}")
    seconds: dict[str, list[float]] = {way: [] for way in found}
    time = clock_for(device, clock)
    quick = [way for way in found if way != LOOP]
    turns = [LOOP] * (loop_rounds if LOOP in found else 0)
    for turn, way in enumerate([*in_turns(quick, rounds + _WARM_UP), *turns]):
        time.settle()
        begin = time.mark()
        found[way](layers, candidates)
        taken = time.seconds(begin, time.mark())
        if way == LOOP or turn >= len(quick) * _WARM_UP:
            seconds[way].append(taken)
            round_done()
    return [
        Row(
            way=way,
            what=what,
            candidates=candidates,
            batch_size=max(len(query), len(key)),
            layers=len(layers),
            heads=query.shape[1],
            queries=query.shape[2],
            keys=key.shape[2],
            dim=query.shape[3],
            seconds=seconds[way],
            captured_seconds=None if way == LOOP else _captured(partial(count, layers, candidates), device),
            peak_bytes=None if way == LOOP else peak_memory(partial(count, layers, candidates), device),
            difference=differences[way],
            device=device_name(device),
            dtype=str(query.dtype).removeprefix("torch."),
            clock=time.name,
            tokprune=package_version("tokprune"),
            torch=torch.__version__,
            triton=package_version("triton"),
            python=platform.python_version(),
            threads=torch.get_num_threads(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        )
        for way, count in found.items()
    ]


def _captured(call: Any, device: torch.device, replays: int = 20) -> float | None:
    """Seconds of the device for one call, replayed from a CUDA graph; None if it cannot be captured."""
    if device.type != "cuda":
        return None
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            call()
    except RuntimeError:
        return None
    graph.replay()
    time = clock_for(device)
    time.settle()
    begin = time.mark()
    for _ in range(replays):
        graph.replay()
    return time.seconds(begin, time.mark()) / replays


def results_table(rows: Sequence[Row]) -> Table:
    """The rows of one comparison: milliseconds, how much faster than the slowest, memory, agreement."""
    table = Table(caption="Median (middle half) of calls in turns; memory above the inputs.")
    table.add_column("way", no_wrap=True)
    for column in ("ms", "device alone, ms", "times as fast as the last", "memory, MiB", "differs by"):
        table.add_column(column, justify="right")
    slowest = quartiles(rows[-1].seconds).middle
    for row in rows:
        time = quartiles(row.seconds)
        table.add_row(
            row.way,
            time.milliseconds,
            "-" if row.captured_seconds is None else f"{row.captured_seconds * 1e3:.3g}",
            f"{slowest / time.middle:.3g}",
            "-" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:.3g}",
            f"{row.difference:.1e}",
        )
    return table


def summary(row: Row) -> dict[str, Any]:
    """A row for a table: times as quartiles, in milliseconds."""
    time = quartiles(row.seconds)
    values: Mapping[str, Any] = asdict(row)
    times = {"ms": time.middle * 1e3, "ms low": time.low * 1e3, "ms high": time.high * 1e3, "calls": len(row.seconds)}
    return {name: value for name, value in values.items() if name != "seconds"} | times


def save(rows: Sequence[Row], folder: Path) -> None:
    """Append to rows.jsonl, and write table.csv of all rows that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rows.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
    every = [summary(Row(**json.loads(line))) for line in path.read_text(encoding="utf-8").splitlines()]
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(every[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(every)


def main(
    batch_size: Annotated[int, typer.Option(min=1, help="Images.")] = 32,
    layers: Annotated[int, typer.Option(min=1, help="Attention layers.")] = 6,
    heads: Annotated[int, typer.Option(min=1, help="Heads of each layer.")] = 12,
    queries: Annotated[int, typer.Option(min=1, help="Queries of each head.")] = 32,
    keys: Annotated[int, typer.Option(min=1, help="Keys of each head.")] = 257,
    dim: Annotated[int, typer.Option(min=1, help="Length of a query or key.")] = 64,
    candidates: Annotated[Candidates, typer.Option(help="Which side is ranked by the other.")] = Candidates.query,
    what: Annotated[What, typer.Option(help="Borda points, or summed probabilities.")] = What.points,
    dtype: Annotated[str, typer.Option(help="Torch dtype.")] = "float32",
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    rounds: Annotated[int, typer.Option(min=1, help="Measured calls of each way.")] = 10,
    loop: Annotated[bool, typer.Option(help="Time the loop over rows too.")] = True,
    clock: Annotated[ClockKind, typer.Option(help="wall, or cpu: the time that the process got.")] = ClockKind.wall,
    out: Annotated[Path | None, typer.Option(help="Folder for rows.jsonl and table.csv.")] = None,
) -> None:
    """Compare ways to count the votes of attention layers: time, memory, and whether they agree."""
    if out is not None:
        check_folder(out)
    made = make_layers(layers, batch_size, heads, queries, keys, dim, getattr(torch, dtype), torch.device(device))
    with torch.inference_mode(), Progress(console=stderr(), transient=True) as progress:
        task = progress.add_task("calls", total=None)
        rows = compare(
            made,
            what=what.value,
            candidates=candidates.value,
            rounds=rounds,
            loop=loop,
            clock=clock.value,
            round_done=lambda: progress.advance(task),
        )
    if out is not None:
        with results_folder(out):
            save(rows, out)
    stdout().print(results_table(rows))
    first = asdict(rows[0])
    shown = (
        "what",
        "candidates",
        "batch_size",
        "layers",
        "heads",
        "queries",
        "keys",
        "dim",
        "dtype",
        "device",
        "clock",
    )
    stdout().print(", ".join(f"{name} {first[name]}" for name in (*shown, "clock", "threads", "torch", "date")))


if __name__ == "__main__":
    typer.run(main)
