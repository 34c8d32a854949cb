"""`tokprune bench`: accuracy of scorers at several keeps, against the unpruned model on the same questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokprune.cli.arguments import (
    DEFAULT_DATA,
    DEFAULT_KEEPS,
    DEFAULT_MODEL,
    Device,
    Dtype,
    Keeps,
    MaxNewTokens,
    Model,
    Template,
    parse_keeps,
)

if TYPE_CHECKING:
    from tokprune.bench.contest import Contestant
    from tokprune.bench.row import Row


def bench(
    model: Model = DEFAULT_MODEL,
    data: Annotated[
        str, typer.Option(help="A data set of the zoo, or a JSON Lines file of image, question, answers.")
    ] = DEFAULT_DATA,
    scorer: Annotated[
        list[str] | None, typer.Option(help="Scorer, with options if wanted. May be repeated. Default: all that fit.")
    ] = None,
    keep: Keeps = list(DEFAULT_KEEPS),  # noqa: B006
    positions: Annotated[list[str] | None, typer.Option(help="compact or preserve. May be repeated.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Questions to ask.")] = 500,
    seed: Annotated[int, typer.Option(help="Draws the questions.")] = 0,
    by_layer: Annotated[
        bool, typer.Option("--by-layer", help="Instead of scorers: catp-vote with one cross-attention layer at a time.")
    ] = False,
    blind: Annotated[
        bool | None,
        typer.Option("--blind/--no-blind", help="A row with the visual prefix zeroed; by default where it can be."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for rows, tables and plot. Default: runs/MODEL-DATA.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions per call.")] = 32,
    template: Template = None,
    max_new_tokens: MaxNewTokens = 10,
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Measure accuracy against tokens kept.

    Rows are written as they come; after a stop, the same command goes on where it was.
    """
    from tokprune.bench.blind import can_be_blind
    from tokprune.bench.certificate import certify
    from tokprune.bench.console import stderr, stdout
    from tokprune.bench.contest import hold_contest
    from tokprune.bench.measure import Examination
    from tokprune.bench.row import Row
    from tokprune.bench.store import RowStore
    from tokprune.bench.table import console_table
    from tokprune.cli.data import load_samples
    from tokprune.cli.models import load
    from tokprune.cli.progress import Bars
    from tokprune.errors import InvalidValueError
    from tokprune.zoo import PROMPT_TEMPLATE

    if by_layer and scorer:
        raise InvalidValueError("bench: --by-layer brings its own scorers; leave --scorer away")
    grid = _grid(scorer or ["first"], keep, positions)  # wrong names and values are found before the model is loaded
    samples = load_samples(data, n, seed)
    loaded, processor = load(model, device=device, dtype=dtype)
    layers: Mapping[str, int] = {}
    if by_layer:
        layers = _layers(loaded, processor)
        specs = {label: f"catp-vote:layers=[{number - 1}]" for label, number in layers.items()}
        grid = _grid(list(specs.values()), keep, positions, list(specs))
    elif not scorer:
        grid = _grid(_default_scorers(loaded), keep, positions)
    examination = Examination(processor, samples, template or PROMPT_TEMPLATE, max_new_tokens, batch_size, seed)
    certificate = certify(
        loaded,
        name=model,
        data=data,
        samples=samples,
        seed=seed,
        template=examination.template,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )
    folder = out or Path("runs") / f"{_file_name(model)}-{_file_name(data)}{'-by-layer' if by_layer else ''}"
    store = RowStore(folder / "rows.jsonl", Row, certificate)
    with_blind = can_be_blind(loaded) if blind is None else blind
    with Bars(len(samples)) as bars:
        rows = hold_contest(loaded, examination, grid, store, with_blind=with_blind, watcher=bars)
    _write(rows, layers, folder)
    stdout().print(console_table(rows, title=f"{model} on {data}"))
    stderr().print(f"written to {folder}: rows.jsonl, table.md, table.csv, plot.png", highlight=False, soft_wrap=True)


def _grid(
    scorers: Sequence[str], keeps: Sequence[str], positions: Sequence[str] | None, labels: Sequence[str] | None = None
) -> list[Contestant]:
    from tokprune import Policy
    from tokprune.bench.contest import Contestant

    treatments: list[dict[str, Any]] = [{"positions": each} for each in dict.fromkeys(positions or ())] or [{}]
    return [
        Contestant(label, Policy(scorer=spec, keep=keep, **treatment))
        for label, spec in dict(zip(labels or scorers, scorers, strict=True)).items()
        for treatment in treatments
        for keep in parse_keeps(keeps)
    ]


def _default_scorers(model: Any) -> list[str]:
    """All that fit. `random` is one draw of positions, good or bad luck, so it comes with three seeds."""
    from tokprune.fit import adapter_for, choose_target, fitting_scorers

    adapter = adapter_for(model)
    chosen = choose_target(model, adapter, None)
    return [
        spec
        for name in fitting_scorers(chosen, adapter.offers(model)[chosen])
        for spec in ([name, f"{name}:seed=1", f"{name}:seed=2"] if name == "random" else [name])
    ]


def _layers(model: Any, processor: Any) -> dict[str, int]:
    """Label -> number from 1 of each cross-attention layer."""
    from tokprune import observe
    from tokprune.bench.answering import forward_inputs, prepare
    from tokprune.bench.noise import noise_samples

    inputs = forward_inputs(model, prepare(model, processor, noise_samples(1)))
    signal = observe(model, inputs, needs=("cross_attention",))
    count = len(signal.cross_attention)
    return {f"catp-vote layer {number} of {count}": number for number in range(1, count + 1)}


def _write(rows: Sequence[Row], layers: Mapping[str, int], folder: Path) -> None:
    from tokprune.bench.plot import plot_accuracy, plot_layers
    from tokprune.bench.table import markdown, write_csv

    (folder / "table.md").write_text(markdown(rows), encoding="utf-8")
    write_csv(rows, folder / "table.csv")
    if layers:
        plot_layers(rows, layers, folder / "plot.png")
    else:
        plot_accuracy(rows, folder / "plot.png")


def _file_name(name: str) -> str:
    return Path(name).stem if Path(name).exists() else name.replace("/", "--")
