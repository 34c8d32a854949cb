"""Arguments that several commands share, each described once."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

import typer

from tokprune.errors import InvalidValueError

DEFAULT_MODEL = "blip2-shapes"
DEFAULT_DATA = "shapes-vqa"
DEFAULT_KEEPS = ("0.5", "0.25", "0.125")

Model = Annotated[str, typer.Argument(help="A model of the zoo, a local folder, or a hub id.", metavar="[MODEL]")]
Keeps = Annotated[
    list[str],
    typer.Option("--keep", help="How much stays: a ratio (0.25 or 1/4) or a count (8). May be repeated."),
]
Template = Annotated[str | None, typer.Option(help="Prompt, with {} for the question; default: BLIP-2's.")]
Device = Annotated[str, typer.Option(help="Torch device, such as cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="Longest answer, in language-model tokens.")]


def parse_keep(text: str) -> float | int:
    """A keep as it is typed: `0.25` and `1/4` are ratios, `8` is a count.

    Raises:
        InvalidValueError: It is none of them.
    """
    try:
        return float(Fraction(text)) if "/" in text else int(text) if text.strip().isdecimal() else float(text)
    except (ValueError, ZeroDivisionError) as error:
        raise InvalidValueError(f"--keep {text!r}: expected a ratio (0.25 or 1/4) or a count (8)") from error


def parse_keeps(texts: Sequence[str]) -> list[float | int]:
    """The same for several, in order, without repeats."""
    return list(dict.fromkeys(parse_keep(text) for text in texts))
