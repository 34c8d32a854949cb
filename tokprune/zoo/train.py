"""Trains the bundled model from nothing: `python -m tokprune.zoo.train --out FOLDER`."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "67108864",
}
"""glibc gives large blocks back to the system and asks for them again at every step unless it is told not to."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for the model; checkpoints go to its subfolder `stages`.")],
    seed: Annotated[int, typer.Option(help="Another seed gives another model.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU where there is one.")] = "auto",
    minutes_scale: Annotated[float, typer.Option(help="Train so many times as long.")] = 1.0,
    smoke: Annotated[bool, typer.Option(help="A run of seconds that learns nothing, to try the machinery.")] = False,
) -> None:
    """Trains the miniature BLIP-2 on shapes-vqa. Run again with the same folder to go on where it stopped."""
    import torch
    from rich.progress import Progress
    from transformers import AutoProcessor, Blip2ForConditionalGeneration

    from tokprune.zoo.evaluate import evaluate
    from tokprune.zoo.recipe.card import build_card
    from tokprune.zoo.recipe.run import Training, save
    from tokprune.zoo.recipe.settings import SMOKE, Settings
    from tokprune.zoo.shapes_vqa import ShapesVqa

    try:  # before hours of training, not after
        (out / "stages").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"cannot make a folder at {out}: {error.strerror}", param_hint="--out") from error
    settings = replace(SMOKE if smoke else Settings(), seed=seed).scaled(minutes_scale)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    with Progress() as progress:
        training = Training(settings, out / "stages", place, progress)
        save(training.run(), out, settings.queries)
        model = Blip2ForConditionalGeneration.from_pretrained(out, trust_remote_code=False).to(place).eval()
        task = progress.add_task("scoring", total=settings.questions)
        samples = ShapesVqa("test", settings.questions)
        scores = evaluate(
            model,
            AutoProcessor.from_pretrained(out, trust_remote_code=False),
            samples,
            tick=lambda n: progress.advance(task, n),
        )
    card = build_card(_command(seed, minutes_scale, smoke), seed, place, training.minutes(), model, scores)
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    typer.echo(json.dumps(card, indent=2))


def _command(seed: int, minutes_scale: float, smoke: bool) -> str:
    scale = "" if minutes_scale == 1.0 else f" --minutes-scale {minutes_scale}"
    return f"python -m tokprune.zoo.train --out FOLDER --seed {seed}{scale}{' --smoke' if smoke else ''}"


if __name__ == "__main__":
    if sys.platform == "linux" and not any(name in os.environ for name in _MALLOC):
        os.execve(
            sys.executable, [sys.executable, "-m", "tokprune.zoo.train", *sys.argv[1:]], {**os.environ, **_MALLOC}
        )
    app()
