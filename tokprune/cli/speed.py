"""`tokprune speed`: time, memory and arithmetic, unpruned, pruned, and with the kept tokens handed over for nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tokprune.cli.arguments import DEFAULT_MODEL, Device, Dtype, TrustRemoteCode, parse_keep
from tokprune.cli.policies import parse_policies, with_defaults

if TYPE_CHECKING:
    import torch

    from tokprune.bench.speed.clock import Kind
    from tokprune.bench.speed.run import Entry

_DEFAULT = "keep=1/4"


def speed(
    model: Annotated[
        str,
        typer.Argument(
            help="A model of the zoo, a local folder, a hub id, or a real size with random weights: blip2-opt-2.7b, "
            "blip2-flan-t5-xl, instructblip-vicuna-7b, llava-1.5-7b, qwen2.5-vl-7b, llama-3.2-11b-vision, or narrower "
            "and shallower, such as blip2-opt-2.7b:scale=0.25.",
            metavar="[MODEL]",
        ),
    ] = DEFAULT_MODEL,
    batch_size: Annotated[list[int], typer.Option(min=1, help="Samples per call. May be repeated.")] = [1],  # noqa: B006
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="What to prune: 'catp-vote keep=1/4', 'received-attention target=image keep=1/4 after=1/3', several "
            "targets with ' + ' between them, a JSON file, or 'none'. May be repeated. Default: 'keep=1/4', by the "
            "model's default scorer."
        ),
    ] = None,
    scorer: Annotated[
        list[str] | None, typer.Option(help="Short for --policy 'SCORER keep=KEEP'. May be repeated.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Of --scorer: a ratio (0.25 or 1/4) or a count (8). May be repeated. Default: 1/4."),
    ] = None,
    beams: Annotated[int, typer.Option(min=1, help="Beams of the search; 1 is greedy.")] = 1,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Answer tokens of every sample, no fewer.")] = 10,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Words of the prompt, besides the query tokens.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, help="Measured calls of each variant.")] = 20,
    warm_up: Annotated[int, typer.Option(min=0, help="Calls of each before.")] = 2,
    attention: Annotated[str, typer.Option(help="Attention implementation. Gains over eager are no gains.")] = "sdpa",
    clock: Annotated[
        str, typer.Option(help="wall; or cpu: the time this process was given, for a CPU that others use too.")
    ] = "wall",
    seed: Annotated[int, typer.Option(help="Draws pictures, prompts and random weights.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for rows, tables and plot. Default: runs/speed-MODEL.")
    ] = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Measure what pruning gains and what choosing tokens costs: latency by stage, peak memory, FLOPs.

    The unpruned model, the pruned one and the oracle (the same model handed the kept tokens for nothing) are called in
    turns on pictures of noise. Rows are written as they come; after a stop, the same command goes on where it was.
    """
    from tokprune.bench.console import stderr, stdout
    from tokprune.bench.output import check_folder, results_folder, writing
    from tokprune.bench.speed.block import Settings
    from tokprune.bench.speed.certificate import certify_speed
    from tokprune.bench.speed.clock import clock_for
    from tokprune.bench.speed.results import write_results
    from tokprune.bench.speed.row import SpeedRow
    from tokprune.bench.speed.run import Entry, run_speed
    from tokprune.bench.speed.table import console_tables
    from tokprune.bench.speed.verdicts import verdicts
    from tokprune.bench.store import RowStore
    from tokprune.cli.models import warn_of_remote_code
    from tokprune.cli.sizes import is_size, load_for_speed
    from tokprune.cli.speedprogress import SpeedBars

    entries = _entries(policy, scorer, keep)  # wrong names and values are found before the model is loaded
    check_folder(out or Path("runs"))
    settings = Settings(max_new_tokens, beams, repeats, warm_up)
    timer = clock_for(_device(device), cast("Kind", clock))
    warn_of_remote_code(model, trust_remote_code)
    loaded = load_for_speed(
        model, device=device, dtype=dtype, attention=attention, seed=seed, trust_remote_code=trust_remote_code
    )
    entries = [Entry(*with_defaults(entry.label, entry.policies, loaded)) for entry in entries]
    certificate = certify_speed(
        loaded, settings, timer, name=model, random_weights=is_size(model), seed=seed, prompt_tokens=prompt_tokens
    )
    folder = out or Path("runs") / f"speed-{_file_name(model)}"
    batch_sizes = list(dict.fromkeys(batch_size))
    with results_folder(folder):
        store = RowStore(folder / "rows.jsonl", SpeedRow, certificate)
        with SpeedBars(len(batch_sizes) * len(entries)) as bars:
            rows = run_speed(loaded, entries, batch_sizes, settings, timer, store, bars)
        with writing(folder):
            names = write_results(rows, folder)
    for table in console_tables(rows, title=model):
        stdout().print(table)
    for verdict in verdicts(rows):
        stdout().print(f"- {verdict}", highlight=False, markup=False, soft_wrap=True)
    stderr().print(f"written to {folder}: rows.jsonl, {', '.join(names)}", highlight=False, soft_wrap=True)


def _entries(policies: Sequence[str] | None, scorers: Sequence[str] | None, keeps: Sequence[str] | None) -> list[Entry]:
    from tokprune import Policy
    from tokprune.bench.speed.run import Entry

    entries = [Entry(*parse_policies(text)) for text in policies or ()]
    if scorers or keeps:
        entries += [
            Entry(f"{each} keep={typed}".strip(), (Policy(scorer=each or None, keep=parse_keep(typed)),))
            for each in scorers or [""]
            for typed in keeps or ["1/4"]
        ]
    return list({entry.label: entry for entry in entries or [Entry(*parse_policies(_DEFAULT))]}.values())


def _device(name: str) -> torch.device:
    import torch

    from tokprune.errors import InvalidValueError

    try:
        return torch.device(name)
    except RuntimeError as error:
        raise InvalidValueError(f"device {name!r}: {str(error).splitlines()[0]}") from error


def _file_name(name: str) -> str:
    return Path(name).stem if os.path.exists(name) else name.replace("/", "--").replace(":", "-").replace("=", "-")
