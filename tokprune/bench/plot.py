"""Plots of rows: accuracy against tokens kept, by layer, by depth of the cut, and policy by policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokprune.bench.row import BLIND, UNPRUNED, Row
from tokprune.bench.table import field_text, keep_text, tokens_text

Line = Sequence[tuple[float, Row]]
"""Points of one curve: place on the horizontal axis, row."""
Lines = Mapping[tuple[str, str], Line]
"""What a curve is about, how that was treated -> the curve: one colour for each of the first, one dash of the other."""

_DASHES = ("-", "--", ":", "-.")
_TREATMENTS = ("target", "after", "selector", "reduction", "positions")


def plot_accuracy(rows: Sequence[Row], path: str | Path) -> None:
    """Draws accuracy against tokens kept, one line per scorer (and treatment), as a picture file."""
    lines = _lines(rows, lambda row: row.label, lambda row: sum(kept for _, _, kept in row.counts), _TREATMENTS)
    figure, axes = _axes(lines, rows, lambda x, shift: x * 2 ** (0.3 * shift))
    axes.set_xscale("log", base=2)
    axes.set_xlabel(f"tokens kept per image, of {', '.join(f'{before:g}' for _, before, _ in rows[0].counts)}")
    ticks = sorted({round(kept, 1) for row in rows for _, _, kept in row.counts})
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
    chosen = [row for row in rows if row.label in layers]
    lines = _lines(chosen, lambda row: f"keep {keep_text(row.keep)}", lambda row: layers[row.label], ("positions",))
    figure, axes = _axes(lines, rows, lambda x, shift: x + 0.2 * shift)
    axes.set_xlabel("cross-attention layer that votes")
    axes.set_xticks(sorted(set(layers.values())))
    _save(figure, path)


def plot_depth(rows: Sequence[Row], path: str | Path) -> None:
    """Draws accuracy by the depth at which an encoder is cut, one line per scorer and keep, as a picture file.

    Args:
        rows: The rows; those whose policy has no number of layers as `after` only give the level lines.
        path: Where to write the picture.
    """
    deep = [row for row in rows if _depth(row)]
    lines = _lines(
        deep,
        lambda row: row.label,
        _depth,
        ("selector", "reduction", "positions"),
        lambda row: f"keep {keep_text(row.keep)}",
    )
    figure, axes = _axes(lines, rows, lambda x, shift: x + 0.2 * shift)
    axes.set_xlabel("layers of the image encoder in front of the cut")
    axes.set_xticks(sorted(set(map(_depth, deep))))
    _save(figure, path)


def plot_policies(rows: Sequence[Row], path: str | Path) -> None:
    """Draws the accuracy of each row beside what it is called, from top to bottom, as a picture file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.5 + 0.3 * len(rows)), layout="constrained")
    axes: Any = figure.subplots()
    places = range(len(rows))
    below, above = _bars(rows)
    axes.errorbar(
        [100 * row.accuracy.fraction for row in rows], places, xerr=[below, above], fmt="o", markersize=4, capsize=2
    )
    names = [row.label if row.keep is None else f"{row.label} keep={keep_text(row.keep)}" for row in rows]
    axes.set_yticks(places, [f"{name}\n{tokens_text(row)}" for name, row in zip(names, rows, strict=True)], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("accuracy in % (bars: 95% interval)")
    axes.set_title(_title(rows))
    axes.grid(alpha=0.3)
    _save(figure, path)


def _depth(row: Row) -> int:
    """Layers in front of the one cut; 0 where that is not what the policy says."""
    after = row.policy.get("after") if isinstance(row.policy, dict) else None
    return after if isinstance(after, int) else 0


def _lines(
    rows: Sequence[Row],
    name: Callable[[Row], str],
    place: Callable[[Row], float],
    treatments: Sequence[str],
    how: Callable[[Row], str] = lambda row: "",
) -> dict[tuple[str, str], list[tuple[float, Row]]]:
    """The curves of the pruned rows: one for each name, `how`, and fields among `treatments` in which rows differ."""
    pruned = [row for row in rows if row.policy is not None]
    differing = [field for field in treatments if len({field_text(row, field) for row in pruned}) > 1]
    lines: dict[tuple[str, str], list[tuple[float, Row]]] = {}
    for row in pruned:
        told = [f"after {field_text(row, f)}" if f == "after" else field_text(row, f) for f in differing]
        lines.setdefault((name(row), ", ".join(filter(None, [how(row), *told]))), []).append((place(row), row))
    return lines


def _axes(lines: Lines, rows: Sequence[Row], shifted: Callable[[float, float], float]) -> tuple[Any, Any]:
    """A figure with the lines and the levels of the unpruned and the blind model.

    Lines are shifted sideways by up to half of what `shifted` does at 1, so that error bars do not hide each other.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    # A Figure of its own, without pyplot: no window system, no global state.
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    names, treatments = list(dict.fromkeys(name for name, _ in lines)), list(dict.fromkeys(how for _, how in lines))
    colours = colormaps["tab20" if len(names) > 10 else "tab10"]
    for index, ((name, treatment), points) in enumerate(lines.items()):
        points = sorted(points, key=lambda point: point[0])
        axes.errorbar(
            [shifted(x, index / max(len(lines) - 1, 1) - 0.5) for x, _ in points],
            [100 * row.accuracy.fraction for _, row in points],
            yerr=_bars([row for _, row in points]),
            label=f"{name} ({treatment})" if treatment else name,
            color=colours(names.index(name) % colours.N),
            linestyle=_DASHES[treatments.index(treatment) % len(_DASHES)],
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
    axes.set_title(_title(rows))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure, axes


def _bars(rows: Sequence[Row]) -> tuple[list[float], list[float]]:
    """How far the intervals reach below and above the accuracies, in %."""
    below = [100 * (row.accuracy.fraction - row.accuracy.interval[0]) for row in rows]
    above = [100 * (row.accuracy.interval[1] - row.accuracy.fraction) for row in rows]
    return below, above


def _title(rows: Sequence[Row]) -> str:
    certificate = rows[0].certificate
    return f"{certificate['model']} on {certificate['data']}, {rows[0].accuracy.total} questions"


def _save(figure: Any, path: str | Path) -> None:
    figure.savefig(path, dpi=150)
