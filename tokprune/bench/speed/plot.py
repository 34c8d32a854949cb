"""Plot of speed: what is gained at each batch size, and what could be gained at most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokprune.bench.speed.block import ORACLE, PRUNED
from tokprune.bench.speed.quartiles import quartiles
from tokprune.bench.speed.row import SpeedRow
from tokprune.errors import InvalidValueError


def plot_gain(rows: Sequence[SpeedRow], path: str | Path) -> None:
    """Draws the gain of the whole call by batch size, as a picture file: one colour per policy, the oracle dashed.

    Raises:
        InvalidValueError: Nothing was pruned, so there is nothing to draw.
    """
    _gain_figure(rows).savefig(path, dpi=150)


def _gain_figure(rows: Sequence[SpeedRow]) -> Any:
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    lines: dict[str, dict[str, list[SpeedRow]]] = {}
    for row in rows:
        if row.variant in (ORACLE, PRUNED):
            lines.setdefault(row.label, {}).setdefault(row.variant, []).append(row)
    if not lines:
        raise InvalidValueError("plot: expected rows of at least one policy")
    # A Figure of its own, without pyplot: no window system, no global state.
    figure = Figure(figsize=(8, 4.5 + 0.2 * len(lines)), layout="constrained")
    axes: Any = figure.subplots()
    colours = colormaps["tab10"]
    for index, (label, variants) in enumerate(lines.items()):
        # A little to the side of each other, so that bars do not hide each other.
        shift = 2 ** (0.3 * (index / max(len(lines) - 1, 1) - 0.5))
        for variant, points in variants.items():
            points = sorted(points, key=lambda row: row.batch_size)
            spreads = [quartiles(row.gain) for row in points]
            axes.errorbar(
                [row.batch_size * shift for row in points],
                [spread.middle for spread in spreads],
                yerr=[[s.middle - s.low for s in spreads], [s.high - s.middle for s in spreads]],
                label=label if variant == PRUNED else f"_{label}",  # the same colour, so once is enough
                color=colours(index % colours.N),
                linestyle="--" if variant == ORACLE else "-",
                marker="_" if variant == ORACLE else "o",
                capsize=2,
                linewidth=1.2,
            )
    axes.axhline(1.0, color="black", linewidth=1)
    axes.plot([], [], color="grey", linestyle="--", label="if choosing were free")
    sizes = sorted({row.batch_size for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("batch size")
    axes.set_ylabel("unpruned / pruned (bars: middle half)")
    certificate = rows[0].certificate
    axes.set_title(f"{certificate['model']}, {certificate['device']}, {certificate['dtype']}", fontsize=10)
    axes.grid(alpha=0.3)
    figure.legend(fontsize="small", loc="outside lower center")
    return figure
