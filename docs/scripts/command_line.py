"""The command line page, from the typer application itself."""

from __future__ import annotations

from typing import Any

HEAD = """# Command line

`tokprune COMMAND --help` shows the same in a terminal. MODEL is a name of the zoo (`blip2-shapes`), a local folder, or
a hub id. Results go to the standard output, progress and messages to the standard error. A mistake in the arguments
ends with one message and exit code 2; `tokprune --debug COMMAND` shows the traceback.

`answer`, `bench` and `inspect` work on every family that has an adapter and writes text, from a folder that
`save_pretrained` wrote or a hub id, with the processor beside it.

A component can carry options: `--scorer catp-vote:layers=first`. A keep is a ratio (`0.25` or `1/4`) or a count (`8`).
"""


def render() -> str:
    """The page as Markdown."""
    from typer.main import get_command

    from tokprune.cli import app

    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    return "\n".join([HEAD, *(_section(name, command) for name, command in commands.items())])


def _section(name: str, command: Any) -> str:
    parameters = [p for p in command.params if not getattr(p, "hidden", False)]
    arguments = [p for p in parameters if p.param_type_name == "argument"]
    options = [p for p in parameters if p.param_type_name == "option"]
    usage = " ".join(["tokprune", name, *(_argument(p) for p in arguments), "[OPTIONS]"])
    lines = [f"## `tokprune {name}`", "", _paragraphs(command.help), "", "```text", usage, "```", ""]
    lines += ["| argument or option | default | what it does |", "| --- | --- | --- |"]
    for parameter in (*arguments, *options):
        shown = f"`{_argument(parameter)}`" if parameter in arguments else _flags(parameter)
        lines.append(f"| {shown} | {_default(parameter)} | {_cell(parameter.help or '')} |")
    return "\n".join(lines) + "\n"


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name.upper()).strip("[]")
    return name if parameter.required else f"[{name}]"


def _flags(parameter: Any) -> str:
    return ", ".join(f"`{flag}`" for flag in (*parameter.opts, *parameter.secondary_opts))


def _default(parameter: Any) -> str:
    value = parameter.default
    if value is None or value is False or value == [] or parameter.required:
        return ""
    values = value if isinstance(value, list | tuple) else [value]
    return ", ".join(f"`{each}`" for each in values)


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
