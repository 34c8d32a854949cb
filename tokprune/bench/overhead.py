"""Overhead: pruned time / oracle time, and what pruning gains against the unpruned model, in one interleaved run.

python -m tokprune.bench.overhead FOLDER --keep 0.25
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median, quantiles
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from tokprune.bench.answering import DEFAULT_TEMPLATE, prepare
from tokprune.bench.certificate import certify
from tokprune.bench.console import stderr, stdout
from tokprune.bench.loading import load_checkpoint
from tokprune.bench.noise import noise_samples
from tokprune.bench.timing import Times, measure_overhead
from tokprune.policy import Policy


def spread(values: list[float], unit: float = 1.0) -> str:
    """Median and, in brackets, the middle half: `"12.3 (12.1 – 12.8)"`."""
    if len(values) < 2:
        return f"{values[0] * unit:.3g}"
    low, _, high = quantiles(values, n=4)
    return f"{median(values) * unit:.3g} ({low * unit:.3g} to {high * unit:.3g})"


def overhead_table(times: Mapping[str, Times]) -> Table:
    """Policy label -> times, as a table: milliseconds per call and the two quotients, median (middle half)."""
    table = Table(caption="Median (middle half) of interleaved calls. Oracle: handed the kept tokens for nothing.")
    table.add_column("scorer", no_wrap=True)
    for column in ("tokens kept", "unpruned ms", "oracle ms", "pruned ms", "pruned / oracle", "unpruned / pruned"):
        table.add_column(column, justify="right")
    for label, t in times.items():
        milliseconds = [spread(values, 1e3) for values in (t.unpruned, t.oracle, t.pruned)]
        table.add_row(label, f"{t.tokens_kept} of {t.tokens}", *milliseconds, spread(t.overhead), spread(t.gain))
    return table


def main(
    model: Annotated[str, typer.Argument(help="A local folder or a hub id.")],
    scorer: Annotated[list[str], typer.Option(help="Scorer; may be repeated.")] = ["catp-vote"],  # noqa: B006
    keep: Annotated[float, typer.Option(help="Keep ratio.")] = 0.25,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples per call.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Measured calls of each.")] = 30,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Answer tokens of every sample.")] = 3,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="Torch dtype.")] = "float32",
) -> None:
    """Measure what pruning costs (pruned / oracle) and gains (unpruned / pruned) in time, on noise pictures."""
    console = stdout()
    loaded, processor = load_checkpoint(model, device=device, dtype=dtype)
    samples = noise_samples(batch_size)
    inputs = prepare(loaded, processor, samples)
    times: dict[str, Times] = {}
    with Progress(console=stderr(), transient=True) as progress:
        for name in scorer:
            task = progress.add_task(name, total=repeats)
            times[name] = measure_overhead(
                loaded,
                inputs,
                Policy(scorer=name, keep=keep),
                repeats=repeats,
                max_new_tokens=max_new_tokens,
                repeat_done=lambda task=task: progress.advance(task),  # type: ignore[misc]
            )
    console.print(overhead_table(times))
    certificate = certify(
        loaded,
        name=model,
        data="noise",
        samples=samples,
        seed=0,
        template=DEFAULT_TEMPLATE,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )
    for field, value in certificate.to_dict().items():
        console.print(f"{field}: {value}", highlight=False)


if __name__ == "__main__":
    typer.run(main)
