"""`tokprune answer`: the model's answer at each keep beside the unpruned one, and a picture of what was kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    from rich.table import Table
    from torch import Tensor

    from tokprune.samples import Sample


@dataclass(frozen=True)
class _Level:
    scorer: str
    keep: float | int | None
    text: str
    kept: Tensor | None
    """Bool `[token]`; None where nothing was pruned."""


def answer(
    model: Model = DEFAULT_MODEL,
    image: Annotated[Path | None, typer.Option(help="Picture; without one, a sample of --data is asked.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Question about --image.")] = None,
    data: Annotated[str, typer.Option(help="Where --sample comes from.")] = DEFAULT_DATA,
    sample: Annotated[int, typer.Option(min=0, help="Index of the sample, from 0.")] = 0,
    keep: Keeps = list(DEFAULT_KEEPS),  # noqa: B006
    scorer: Annotated[list[str], typer.Option(help="Scorer, with options if wanted. May be repeated.")] = ["catp-vote"],  # noqa: B006
    out: Annotated[Path, typer.Option(help="Where the picture goes.")] = Path("answer.png"),
    template: Template = None,
    max_new_tokens: MaxNewTokens = 10,
    device: Device = "cpu",
    dtype: Dtype = "float32",
) -> None:
    """Answer one question at each keep, beside the unpruned answer, and save a picture of what was kept."""
    from tokprune import Policy, apply
    from tokprune.bench.answering import generate_answers, prepare
    from tokprune.bench.console import stderr, stdout
    from tokprune.cli.models import load
    from tokprune.zoo import PROMPT_TEMPLATE

    # Everything that can be wrong is found out before the model is loaded.
    policies = [(name, Policy(scorer=name, keep=level)) for name in scorer for level in parse_keeps(keep)]
    asked = _asked(image, prompt, data, sample)
    loaded, processor = load(model, device=device, dtype=dtype)
    inputs = prepare(loaded, processor, [asked], template or PROMPT_TEMPLATE)
    levels = [_Level("unpruned", None, generate_answers(loaded, processor, inputs, max_new_tokens)[0], None)]
    for name, policy in policies:
        with apply(loaded, policy) as handle:
            text = generate_answers(loaded, processor, inputs, max_new_tokens)[0]
            report = handle.report
        levels.append(_Level(name, policy.keep, text, None if report is None else report.kept[0]))
    stdout().print(_table(asked, levels))
    out.parent.mkdir(parents=True, exist_ok=True)
    _draw(loaded, inputs, asked, levels, out)
    stderr().print(f"picture: {out}", highlight=False, soft_wrap=True)


def _asked(image: Path | None, prompt: str | None, data: str, index: int) -> Sample:
    from tokprune.bench.picturefile import open_picture
    from tokprune.bench.questionfile import QuestionFile
    from tokprune.cli.data import load_samples
    from tokprune.errors import InvalidValueError
    from tokprune.samples import Sample

    if (image is None) != (prompt is None):
        raise InvalidValueError("answer: give --image and --prompt together, or neither to ask a sample of --data")
    if image is not None and prompt is not None:
        return Sample(str(image), open_picture(image, "--image"), prompt, ("",))
    samples = QuestionFile(data) if Path(data).is_file() else load_samples(data, index + 1, seed=0)
    if index >= len(samples):
        raise InvalidValueError(f"--sample {index}: {data!r} has {len(samples)} samples, counted from 0")
    return samples[index]


def _table(asked: Sample, levels: Sequence[_Level]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from tokprune.bench.matching import matches
    from tokprune.bench.table import keep_text

    known = any(asked.answers)
    title = f"{asked.question}" + (f" (accepted: {', '.join(asked.answers)})" if known else "")
    table = Table(title=escape(title), title_justify="left")
    table.add_column("scorer", no_wrap=True)
    table.add_column("keep", justify="right")
    table.add_column("tokens kept", justify="right")
    table.add_column("answer")
    for level in levels:
        kept = "all" if level.kept is None else f"{int(level.kept.sum())} of {len(level.kept)}"
        colour = ("green" if matches(level.text, asked.answers) else "red") if known else "default"
        text = f"[{colour}]{escape(level.text)}[/]"
        table.add_row(level.scorer, keep_text(level.keep), kept, text, end_section=level.keep is None)
    return table


def _draw(model: Any, inputs: Any, asked: Sample, levels: Sequence[_Level], out: Path) -> None:
    from tokprune import adapter_for, observe
    from tokprune.bench.answering import forward_inputs
    from tokprune.bench.table import keep_text
    from tokprune.cli.picture import Panel, draw_picture, voter_weights, watched

    offered = next(iter(adapter_for(model).offers(model).values()))
    needs = tuple(name for name in ("cross_attention", "encoder_attention") if name in offered)
    panels: list[Panel] = [(f"{asked.question}\nunpruned: {levels[0].text}", None)]
    signal = observe(model, forward_inputs(model, inputs), needs=needs)
    if "encoder_attention" in needs:
        panels.append(("voters' weight\n(attention received)", voter_weights(signal)))
    for level in levels[1:]:
        seen = None
        if "cross_attention" in needs and level.kept is not None:
            seen = watched(signal.cross_attention, level.kept)
        panels.append((f"{level.scorer}, keep {keep_text(level.keep)}\n{level.text}", seen))
    draw_picture(asked.image, panels, out)
