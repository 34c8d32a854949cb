"""`tokprune bench`: accuracy of scorers at several keeps, against the unpruned model on the same questions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokprune.cli.arguments import (
    AFTER_HELP,
    DEFAULT_DATA,
    DEFAULT_MODEL,
    POLICY_SAYS,
    REDUCTION_HELP,
    SELECTOR_HELP,
    Device,
    Dtype,
    Keeps,
    MaxNewTokens,
    Model,
    Policies,
    Target,
    Template,
    TrustRemoteCode,
    parse_after,
    parse_keeps,
    parse_template,
    refuse_together,
)
from tokprune.cli.grid import Grid
from tokprune.errors import AdapterError, InvalidValueError

if TYPE_CHECKING:
    from tokprune import Policy
    from tokprune.after import After
    from tokprune.bench.row import Row


def bench(
    model: Model = DEFAULT_MODEL,
    data: Annotated[
        str, typer.Option(help="A data set of the zoo, or a JSON Lines file of image, question, answers.")
    ] = DEFAULT_DATA,
    scorer: Annotated[
        list[str] | None, typer.Option(help="Scorer, with options if wanted. May be repeated. Default: all that fit.")
    ] = None,
    keep: Keeps = None,
    target: Target = None,
    after: Annotated[list[str] | None, typer.Option(help=f"{AFTER_HELP} May be repeated.")] = None,
    selector: Annotated[list[str] | None, typer.Option(help=f"{SELECTOR_HELP} May be repeated.")] = None,
    reduction: Annotated[list[str] | None, typer.Option(help=f"{REDUCTION_HELP} May be repeated.")] = None,
    positions: Annotated[list[str] | None, typer.Option(help="compact or preserve. May be repeated.")] = None,
    policy: Policies = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Questions to ask.")] = 500,
    seed: Annotated[int, typer.Option(help="Draws the questions.")] = 0,
    by_layer: Annotated[
        bool, typer.Option("--by-layer", help="Instead of scorers: catp-vote with one cross-attention layer at a time.")
    ] = False,
    by_depth: Annotated[
        bool,
        typer.Option(
            "--by-depth", help="Cut the image encoder behind one layer at a time; by default by received-attention."
        ),
    ] = False,
    blind: Annotated[
        bool | None,
        typer.Option("--blind/--no-blind", help="A row with the visual prefix zeroed; by default where it can be."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for rows, tables and plot. Default: runs/MODEL-DATA, and what is special about it."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions per call.")] = 32,
    template: Template = None,
    max_new_tokens: MaxNewTokens = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Measure accuracy against tokens kept.

    Rows are written as they come; after a stop, the same command goes on where it was.
    """
    from tokprune.bench.blind import can_be_blind
    from tokprune.bench.certificate import certify
    from tokprune.bench.console import stderr, stdout
    from tokprune.bench.contest import Contestant, hold_contest
    from tokprune.bench.measure import Examination
    from tokprune.bench.output import check_folder, results_folder, writing
    from tokprune.bench.prompts import longest_answer, template_for, unasked
    from tokprune.bench.row import Row
    from tokprune.bench.store import RowStore
    from tokprune.bench.table import console_table
    from tokprune.cli.data import load_samples
    from tokprune.cli.models import load
    from tokprune.cli.policies import default_scorer, with_defaults
    from tokprune.cli.progress import Bars

    # Wrong names and values, and what does not go together, are found before the model is loaded.
    given: dict[str, object] = {"--positions": positions, "--policy": policy, "--selector": selector}
    given |= {"--scorer": scorer, "--keep": keep, "--target": target, "--after": after, "--reduction": reduction}
    given |= {"--by-layer": by_layer, "--by-depth": by_depth}
    for whole, (parts, why) in _NOT_TOGETHER.items():
        refuse_together("bench", given, whole, parts, why)
    target = target or ("image" if by_depth else None)
    treatments = {"selector": selector, "reduction": reduction, "positions": positions}
    places = [parse_after(text) for text in after or ()]
    grid = Grid(parse_keeps(keep), target, {k: v for k, v in {"after": places, **treatments}.items() if v})
    contestants = grid.contestants({name: name for name in scorer or ()}) or grid.contestants({"": None})
    typed = _typed(policy or ())
    check_folder(out or Path("runs"))
    samples = load_samples(data, n, seed)
    loaded, processor = load(model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
    layers: Mapping[str, int] = {}
    if by_layer:
        layers = _layers(loaded, processor)
        contestants = grid.contestants({label: f"catp-vote:layers=[{number - 1}]" for label, number in layers.items()})
    elif by_depth:
        depths = range(1, _depth(loaded, processor, grid.target) + 1)
        grid = replace(grid, treatments={**grid.treatments, "after": depths})
        contestants = grid.contestants({name: name for name in scorer or [default_scorer(loaded, grid.target)]})
    elif typed:
        contestants = [Contestant(*with_defaults(label, policies, loaded)) for label, policies in typed.items()]
    elif not scorer:
        contestants = grid.contestants({spec: spec for spec in _default_scorers(loaded, target, places)})
    prompt = template_for(loaded, processor, parse_template(template))
    longest = max_new_tokens or longest_answer(loaded)
    examination = Examination(processor, samples, prompt, longest, batch_size, seed)
    if note := unasked(loaded, prompt, samples[0]):
        stderr().print(note, highlight=False, soft_wrap=True)
    certificate = certify(
        loaded,
        name=model,
        data=data,
        samples=samples,
        seed=seed,
        template=prompt,
        max_new_tokens=longest,
        batch_size=batch_size,
    )
    special = "by-layer" if by_layer else "by-depth" if by_depth else "policies" if policy else target
    folder = out or Path("runs") / "-".join(filter(None, [_file_name(model), _file_name(data), special]))
    with_blind = can_be_blind(loaded) if blind is None else blind
    with results_folder(folder):
        store = RowStore(folder / "rows.jsonl", Row, certificate)
        with Bars(len(samples)) as bars:
            rows = hold_contest(loaded, examination, contestants, store, with_blind=with_blind, watcher=bars)
        with writing(folder):
            _write(rows, layers, folder, by_depth=by_depth)
    stdout().print(console_table(rows, title=f"{model} on {data}"))
    stderr().print(f"written to {folder}: rows.jsonl, table.md, table.csv, plot.png", highlight=False, soft_wrap=True)


_NOT_TOGETHER = {
    "--by-layer": (
        ("--by-depth", "--policy", "--scorer", "--target", "--after"),
        "brings its own scorers, for the tokens that cross-attention is about",
    ),
    "--by-depth": (("--policy", "--after"), "brings its own places"),
    "--policy": (
        ("--scorer", "--keep", "--target", "--after", "--selector", "--reduction", "--positions"),
        POLICY_SAYS,
    ),
}
"""Option -> what it rules out, and why."""


def _typed(texts: Sequence[str]) -> dict[str, tuple[Policy, ...]]:
    """Label -> policies of --policy; no policy at all is in every contest anyway."""
    from tokprune.cli.policies import parse_policies

    return {label: policies for label, policies in map(parse_policies, texts) if policies}


def _default_scorers(model: Any, target: str | None, places: Sequence[After]) -> list[str]:
    """All that fit, at each of the places. `random` is one draw, good or bad luck, so it comes with three seeds."""
    from tokprune.fit import bound_to, choose_target, fitting_scorers

    bound = bound_to(model)
    chosen = choose_target(bound, target)
    offers = [bound.offers_after(chosen, after) for after in places or (None,)]
    fitting = [fitting_scorers(chosen, offered) for offered in offers]
    return [
        spec
        for name in fitting[0]
        if all(name in each for each in fitting)
        for spec in ([name, f"{name}:seed=1", f"{name}:seed=2"] if name == "random" else [name])
    ]


def _layers(model: Any, processor: Any) -> dict[str, int]:
    """Label -> number from 1 of each cross-attention layer."""
    count = _count(model, processor, "cross_attention")
    return {f"catp-vote layer {number} of {count}": number for number in range(1, count + 1)}


def _depth(model: Any, processor: Any, target: str | None) -> int:
    """How many layers there are in front of a cut at the very end."""
    try:
        return _count(model, processor, "encoder_attention", target=target, after=1.0)
    except AdapterError as error:
        raise InvalidValueError(
            f"bench: --by-depth is for image tokens that leave inside the image encoder, and those of this "
            f"{type(model).__name__} do not; measure places one by one with --after, where it has some"
        ) from error


def _count(model: Any, processor: Any, signal: str, **where: Any) -> int:
    """Layers of an attention, counted in a forward."""
    from tokprune import observe
    from tokprune.bench.answering import forward_inputs, prepare
    from tokprune.bench.noise import noise_samples

    inputs = forward_inputs(model, prepare(model, processor, noise_samples(1)))
    return len(getattr(observe(model, inputs, needs=(signal,), **where), signal))


def _write(rows: Sequence[Row], layers: Mapping[str, int], folder: Path, *, by_depth: bool) -> None:
    from tokprune.bench.plot import plot_accuracy, plot_depth, plot_layers, plot_policies
    from tokprune.bench.table import markdown, write_csv

    (folder / "table.md").write_text(markdown(rows), encoding="utf-8", errors="backslashreplace")
    write_csv(rows, folder / "table.csv")
    if layers:
        plot_layers(rows, layers, folder / "plot.png")
    elif by_depth:
        plot_depth(rows, folder / "plot.png")
    elif any(isinstance(row.policy, list) for row in rows):
        plot_policies(rows, folder / "plot.png")
    else:
        plot_accuracy(rows, folder / "plot.png")


def _file_name(name: str) -> str:
    return Path(name).stem if os.path.exists(name) else name.replace("/", "--")
