"""Plots of rows: accuracy against tokens kept, and accuracy by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokprune.bench.row import BLIND, UNPRUNED, Row
from tokprune.bench.table import keep_text

Line = Sequence[tuple[float, Row]]
"""Points of one curve: place on the horizontal axis, row."""


def plot_accuracy(rows: Sequence[Row], path: str | Path) -> None:
    """Draws accuracy against tokens kept, one line per scorer (and positions), as a picture file."""
    several = len({row.positions for row in rows if row.policy}) > 1
    lines: dict[str, list[tuple[float, Row]]] = {}
    for row in rows:
        if row.policy is not None:
            name = f"{row.label} ({row.positions})" if several else row.label
            lines.setdefault(name, []).append((row.tokens_kept, row))
    figure, axes = _axes(lines, rows, lambda x, shift: x * 2 ** (0.3 * shift))
    axes.set_xscale("log", base=2)
    axes.set_xlabel(f"tokens kept per image, of {rows[0].tokens:g}")
    ticks = sorted({round(row.tokens_kept, 1) for row in rows})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    _save(figure, path)


def plot_layers(rows: Sequence[Row], layers: Mapping[str, int], path: str | Path) -> None:
    """Draws accuracy by voting layer, one line per keep, as a picture file.

    Args:
        rows: The rows; those whose label is not in `layers` only give the level lines.
        layers: Label -> number of the layer, from 1.
        path: Where to write the picture.
    """
    several = len({row.positions for row in rows if row.policy}) > 1
    lines: dict[str, list[tuple[float, Row]]] = {}
    for row in rows:
        if row.label in layers:
            name = f"keep {keep_text(row.keep)}" + (f" ({row.positions})" if several else "")
            lines.setdefault(name, []).append((layers[row.label], row))
    figure, axes = _axes(lines, rows, lambda x, shift: x + 0.2 * shift)
    axes.set_xlabel("cross-attention layer that votes")
    axes.set_xticks(sorted(set(layers.values())))
    _save(figure, path)


def _axes(lines: Mapping[str, Line], rows: Sequence[Row], shifted: Callable[[float, float], float]) -> tuple[Any, Any]:
    """A figure with the lines and the levels of the unpruned and the blind model.

    Lines are shifted sideways by up to half of what `shifted` does at 1, so that error bars do not hide each other.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    # A Figure of its own, without pyplot: no window system, no global state.
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    colours = colormaps["tab20" if len(lines) > 10 else "tab10"]
    for index, (name, points) in enumerate(lines.items()):
        points = sorted(points, key=lambda point: point[0])
        fractions = [row.accuracy.fraction for _, row in points]
        ends = [row.accuracy.interval for _, row in points]
        below = [100 * (f - low) for f, (low, _) in zip(fractions, ends, strict=True)]
        above = [100 * (high - f) for f, (_, high) in zip(fractions, ends, strict=True)]
        axes.errorbar(
            [shifted(x, index / max(len(lines) - 1, 1) - 0.5) for x, _ in points],
            [100 * f for f in fractions],
            yerr=[below, above],
            label=name,
            color=colours(index % colours.N),
            linestyle="--" if "(preserve)" in name else "-",
            marker="o",
            markersize=4,
            capsize=2,
            linewidth=1.2,
        )
    for label, style in ((UNPRUNED, "--"), (BLIND, ":")):
        for row in rows:
            if row.label == label:
                axes.axhline(100 * row.accuracy.fraction, color="black", linestyle=style, linewidth=1, label=label)
    axes.set_ylabel("accuracy in % (bars: 95% interval)")
    certificate = rows[0].certificate
    axes.set_title(f"{certificate['model']} on {certificate['data']}, {rows[0].accuracy.total} questions")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure, axes


def _save(figure: Any, path: str | Path) -> None:
    figure.savefig(path, dpi=150)
