"""--policy: a policy, or several for different targets, as they are typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokprune.after import After
from tokprune.cli.arguments import parse_after, parse_keep
from tokprune.errors import InvalidValueError

if TYPE_CHECKING:
    from tokprune import Policy
    from tokprune.interfaces import Inside

UNPRUNED = "none"
"""What is typed to measure the unpruned model alone."""

_FIELD = re.compile(r"([a-z_]+)=(.*)", re.DOTALL)
_HELP = (
    "write words like 'catp-vote keep=1/4', policies for different targets with ' + ' between them, or name a JSON file"
)


def parse_policies(text: str) -> tuple[str, tuple[Policy, ...]]:
    """What tables call it, and the policies.

    Spaces separate words. One without `=` is the scorer; without it the model's default scores. The others are
    `keep=`, `target=`, `after=`, `reduction=`, `aggregator=`, `selector=`, `positions=`, `attention=` and `inside=`. A
    lone `+` separates several policies. `none` stands for no policy. A name that ends with .json is a file with
    `Policy.to_dict()`, or a list of such.

    Raises:
        InvalidValueError: It is none of that; the message says which word is wrong.

    Example:
        >>> label, policies = parse_policies("received-attention target=image keep=1/4 after=1/3 + catp-vote keep=8")
        >>> [policy.keep for policy in policies], policies[0].target
        ([0.25, 8], 'image')
    """
    if text.strip() == UNPRUNED:
        return UNPRUNED, ()
    if text.strip().endswith(".json"):
        return Path(text.strip()).stem, _from_file(Path(text.strip()))
    parts = [part.split() for part in re.split(r"(?:^|\s)\+(?:\s|$)", text)]
    if not all(parts):
        raise InvalidValueError(f"--policy {text!r}: a policy has no words; {_HELP}")
    return " + ".join(" ".join(words) for words in parts), tuple(_policy(words, text) for words in parts)


def default_scorer(model: Any, target: str | None, after: After | None = None, inside: Inside | None = None) -> str:
    """The name of the scorer that a policy without one means on `model`."""
    from tokprune import defaults
    from tokprune.fit import bound_to, choose_target

    bound = bound_to(model)
    return defaults.default_scorer(bound, choose_target(bound, target), after, inside)


def with_defaults(label: str, policies: Sequence[Policy], model: Any) -> tuple[str, tuple[Policy, ...]]:
    """A label and policies of `parse_policies` as they act on `model`, with the scorer in the label that it lacks."""
    from tokprune import defaults

    whole = tuple(defaults.with_defaults(model, policy) for policy in policies)
    parts = label.split(" + ")
    if len(parts) == len(policies):
        names = [
            default_scorer(model, each.target, each.after, each.inside) if each.scorer is None else ""
            for each in policies
        ]
        label = " + ".join(f"{name} {part}".strip() for name, part in zip(names, parts, strict=True))
    return label, whole


def _policy(words: Sequence[str], text: str) -> Policy:
    from tokprune import Policy

    values: dict[str, Any] = {}
    for word in words:
        match = _FIELD.fullmatch(word)
        name, value = match.groups() if match else ("scorer", word)
        if name not in Policy.__dataclass_fields__:
            known = ", ".join(Policy.__dataclass_fields__)
            raise InvalidValueError(f"--policy {text!r}: a policy has no {name!r}; it has {known}")
        if name in values:
            raise InvalidValueError(
                f"--policy {text!r}: {name} is given twice, {values[name]!r} and {value!r}; {_HELP}"
            )
        if value.endswith(",") or re.search(rf",(?:{'|'.join(Policy.__dataclass_fields__)})=", value):
            raise InvalidValueError(f"--policy {text!r}: write spaces between words, not commas; {_HELP}")
        values[name] = _read(name, value)
    return Policy(**values)


def _read(name: str, value: str) -> Any:
    if name == "keep":
        return parse_keep(value)
    return parse_after(value, "after=") if name == "after" else value


def _from_file(path: Path) -> tuple[Policy, ...]:
    from tokprune import Policy
    from tokprune.bench.reading import read_json, read_text

    found = read_json(read_text(path, "--policy"), f"--policy {path}")
    several = found if isinstance(found, list) else [found]
    if not several or not all(isinstance(one, dict) for one in several):
        raise InvalidValueError(f"--policy {path}: expected what `Policy.to_dict()` gives, or a list of such")
    return tuple(Policy.from_dict(one) for one in several)
