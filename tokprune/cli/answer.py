"""`tokprune answer`: the model's answer at each keep beside the unpruned one, and a picture of what was kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
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

if TYPE_CHECKING:
    from rich.table import Table

    from tokprune.cli.panels import Level
    from tokprune.samples import Sample


def answer(
    model: Model = DEFAULT_MODEL,
    image: Annotated[Path | None, typer.Option(help="Picture; without one, a sample of --data is asked.")] = None,
    audio: Annotated[Path | None, typer.Option(help="WAV file, for a model that listens.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Question about --image.")] = None,
    data: Annotated[str, typer.Option(help="Where --sample comes from.")] = DEFAULT_DATA,
    sample: Annotated[int, typer.Option(min=0, help="Index of the sample, from 0.")] = 0,
    keep: Keeps = None,
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help="Scorer, with options if wanted. May be repeated. Default: the model's (see tokprune inspect)."
        ),
    ] = None,
    target: Target = None,
    after: Annotated[str | None, typer.Option(help=AFTER_HELP)] = None,
    selector: Annotated[str | None, typer.Option(help=SELECTOR_HELP)] = None,
    reduction: Annotated[str | None, typer.Option(help=REDUCTION_HELP)] = None,
    policy: Policies = None,
    out: Annotated[Path, typer.Option(help="Where the picture goes.")] = Path("answer.png"),
    template: Template = None,
    max_new_tokens: MaxNewTokens = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Answer one question at each keep, beside the unpruned answer, and save a picture of what was kept."""
    from tokprune import Policy, apply
    from tokprune.bench.answering import forward_inputs, generate_answers, prepare
    from tokprune.bench.console import stderr, stdout
    from tokprune.bench.output import check_picture_place, writing
    from tokprune.bench.prompts import longest_answer, template_for, unasked
    from tokprune.cli.models import load
    from tokprune.cli.panels import Level, Panels
    from tokprune.cli.picture import draw_picture, seen
    from tokprune.cli.policies import parse_policies, with_defaults

    # Everything that can be wrong is found out before the model is loaded.
    parts: dict[str, object] = {"--scorer": scorer, "--keep": keep, "--target": target, "--after": after}
    parts |= {"--selector": selector, "--reduction": reduction}
    refuse_together("answer", {"--policy": policy, **parts}, "--policy", [*parts], POLICY_SAYS)
    check_picture_place(out)
    asked = _asked(image, audio, prompt, data, sample)
    place = None if after is None else parse_after(after)
    named = {"selector": selector, "reduction": reduction}
    treatment: dict[str, Any] = {kind: value for kind, value in named.items() if value}
    wanted = [parse_policies(text) for text in policy or ()] or [
        (name, (Policy(name or None, level, target=target, after=place, **treatment),))
        for name in scorer or [""]
        for level in parse_keeps(keep)
    ]
    loaded, processor = load(model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
    wanted = [with_defaults(label, policies, loaded) for label, policies in wanted]
    prompt_text = template_for(loaded, processor, parse_template(template))
    longest = max_new_tokens or longest_answer(loaded)
    inputs = prepare(loaded, processor, [asked], prompt_text)
    if note := unasked(loaded, prompt_text, asked):
        stderr().print(note, highlight=False, soft_wrap=True)
    levels = [Level("unpruned", None, {}, {}, generate_answers(loaded, processor, inputs, longest)[0])]
    for label, policies in wanted:
        if not policies:
            continue
        with apply(loaded, policies) as handles:
            text = generate_answers(loaded, processor, inputs, longest)[0]
        kept = {name: report.kept[~report.scores.isnan()] for name, report in handles.reports.items() if report}
        by_target = {handle.target: handle.policy for handle in handles}
        levels.append(Level(label, None if policy else policies[0].keep, by_target, kept, text))
    stdout().print(_table(asked, levels))
    if asked.image is None:
        return
    panels = Panels(loaded, forward_inputs(loaded, inputs)).of(asked.question, levels)
    if any(overlay is None for _, overlay in panels[1:]):
        note = "the picture shows no map of the kept tokens: in this model they do not form one grid over the image"
        stderr().print(note, highlight=False, soft_wrap=True)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        draw_picture(seen(asked.image, inputs, processor), panels, out)
    stderr().print(f"picture: {out}", highlight=False, soft_wrap=True)


def _asked(image: Path | None, audio: Path | None, prompt: str | None, data: str, index: int) -> Sample:
    from tokprune.bench.picturefile import open_picture
    from tokprune.bench.questionfile import QuestionFile
    from tokprune.bench.reading import check_text
    from tokprune.bench.soundfiles import open_sound
    from tokprune.cli.data import load_samples
    from tokprune.errors import InvalidValueError
    from tokprune.samples import Sample

    if prompt is not None and image is None:
        raise InvalidValueError("answer: give --image and --prompt together, or neither to ask a sample of --data")
    if image is not None and audio is not None:
        raise InvalidValueError("answer: give --image or --audio, not both")
    check_text(prompt or "", "--prompt")
    if image is not None:
        return Sample(str(image), open_picture(image, "--image"), prompt or "", ("",))
    if audio is not None:
        return Sample(str(audio), None, "", ("",), sound=open_sound(audio, "--audio"))
    samples = QuestionFile(data) if os.path.isfile(data) else load_samples(data, index + 1, seed=0)
    if index >= len(samples):
        raise InvalidValueError(f"--sample {index}: {data!r} has {len(samples)} samples, counted from 0")
    return samples[index]


def _table(asked: Sample, levels: Sequence[Level]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from tokprune.bench.matching import matches
    from tokprune.bench.table import keep_text

    known = any(asked.answers)
    title = (asked.question or asked.id) + (f" (accepted: {', '.join(asked.answers)})" if known else "")
    table = Table(title=escape(title), title_justify="left")
    table.add_column("scorer", no_wrap=True)
    table.add_column("keep", justify="right")
    table.add_column("tokens kept", justify="right")
    table.add_column("answer")
    for level in levels:
        counts = {target: f"{int(kept.sum())} of {len(kept)}" for target, kept in level.kept.items()}
        named = len({target for each in levels for target in each.kept}) > 1
        told = ", ".join(f"{target} {count}" if named else count for target, count in counts.items()) or "all"
        colour = ("green" if matches(level.text, asked.answers) else "red") if known else "default"
        text = f"[{colour}]{escape(level.text)}[/]"
        table.add_row(escape(level.label), keep_text(level.keep), told, text, end_section=not level.kept)
    return table
