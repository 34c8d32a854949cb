"""Arguments that several commands share, each described once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated

import typer

from tokprune.after import After, check_after
from tokprune.errors import InvalidValueError

DEFAULT_MODEL = "blip2-shapes"
DEFAULT_DATA = "shapes-vqa"
DEFAULT_KEEPS = ("0.5", "0.25", "0.125")

Model = Annotated[str, typer.Argument(help="A model of the zoo, a local folder, or a hub id.", metavar="[MODEL]")]
Keeps = Annotated[
    list[str] | None,
    typer.Option(
        "--keep", help="How much stays: a ratio (0.25 or 1/4) or a count (8). May be repeated. Default: 1/2, 1/4, 1/8."
    ),
]
Target = Annotated[
    str | None, typer.Option(help="Which tokens may go, such as query or image. Default: the adapter's.")
]
Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        help="Instead of scorers, policies that act together: 'received-attention target=image keep=1/4 + catp-vote "
        "keep=1/2'. May be repeated.",
    ),
]
AFTER_HELP = (
    "Where image tokens leave: after a share of the layers (1/3), a number of them (13), several (6,13,20), or every; "
    "of the image encoder (BLIP-2), the language model (LLaVA), or a decoder's cross-attention (Whisper, Mllama)."
)
SELECTOR_HELP = "Who turns scores into kept tokens, with options if wanted: top-k, or another that is installed."
REDUCTION_HELP = "What happens to the others, with options if wanted: prune, merge, mask, or another that is installed."
Template = Annotated[
    str | None,
    typer.Option(
        help="Prompt, with {} for the question and the image's placeholder where the model has one; \\n is a new line. "
        "Default: the processor's chat template, or what the family is asked with."
    ),
]
Device = Annotated[str, typer.Option(help="Torch device, such as cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run the Python code that MODEL brings; never run without this.")
]
MaxNewTokens = Annotated[
    int | None,
    typer.Option(
        min=1, help="Longest answer, in language-model tokens. Default: 10; of captions 32, of transcripts 128."
    ),
]


def parse_keep(text: str) -> float | int:
    """A keep as it is typed: `0.25` and `1/4` are ratios, `8` is a count.

    Raises:
        InvalidValueError: It is none of them.
    """
    try:
        return float(Fraction(text)) if "/" in text else int(text) if text.strip().isdecimal() else float(text)
    except (ValueError, ZeroDivisionError) as error:
        raise InvalidValueError(f"--keep {text!r}: expected a ratio (0.25 or 1/4) or a count (8)") from error


def parse_template(text: str | None) -> str | None:
    r"""A prompt as it is typed: `\n`, `\t` and `\\` stand for a new line, a tab and a backslash."""
    escaped = {"n": "\n", "t": "\t", "\\": "\\"}
    return None if text is None else re.sub(r"\\([nt\\])", lambda found: escaped[found[1]], text)


def parse_keeps(texts: Sequence[str] | None) -> list[float | int]:
    """The same for several, in order, without repeats; the default ones for None."""
    return list(dict.fromkeys(parse_keep(text) for text in texts or DEFAULT_KEEPS))


def parse_after(text: str, where: str = "--after ") -> After:
    """Where an encoder is cut, as it is typed: `1/3` and `0.33` are shares of its depth, `13` is a number of layers.

    `6,13,20` (or `[6,13,20]`) are several cuts, `every` is one behind each layer.

    Args:
        text: What was typed.
        where: What it was typed for, for the message.

    Raises:
        InvalidValueError: It is none of them.
    """
    plain = text.strip()
    try:
        if plain.startswith("[") or "," in plain:
            return check_after([int(part) for part in plain.removeprefix("[").removesuffix("]").split(",")])
        return check_after(plain if plain == "every" else parse_keep(plain))
    except ValueError as error:
        raise InvalidValueError(
            f"{where}{text!r}: expected a share of the depth (1/3), a number of layers (13), several in "
            "rising order (6,13,20), or 'every'"
        ) from error


def refuse_together(command: str, given: Mapping[str, object], whole: str, parts: Sequence[str], why: str) -> None:
    """Raise `InvalidValueError` if the option `whole` is among those given, and one of `parts` too.

    Args:
        command: The command, for the message.
        given: Option -> its value; None, False and empty ones were not given.
        whole: The option that rules the others out.
        parts: The options that it rules out.
        why: What it does that they would do again.
    """
    for name in parts:
        if given.get(whole) and given.get(name):
            raise InvalidValueError(f"{command}: {whole} {why}; omit {name}")


POLICY_SAYS = "says all of that itself, as in 'received-attention target=image keep=1/4 after=1/3'"
