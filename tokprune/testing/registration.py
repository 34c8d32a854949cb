"""The laws of being registered: what users of a name rely on, whatever kind of component it is."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from typing import Any

from tokprune.policy import Policy
from tokprune.registry import Entry, Registry
from tokprune.testing.failures import Violation
from tokprune.testing.laws import Law
from tokprune.testing.models import ROWS, tiny


@dataclass(frozen=True)
class Registered:
    """A registered component and the registry that it is in."""

    entry: Entry
    registry: Registry

    def __repr__(self) -> str:
        return f"{self.entry.name!r}"


def examples_of(entry: Entry) -> list[Any]:
    """The objects to check a registered class on: those of its class method `examples()`, or one without options.

    Raises:
        Violation: it needs options and gives no examples, or the examples are none of its own.
    """
    if hasattr(entry.cls, "examples"):
        found = list(entry.cls.examples())
        if not found or not all(type(one) is entry.cls for one in found):
            raise Violation(f"examples() gives {found!r}; expected one {entry.cls.__name__} at least, and no others.")
        twice = [one for place, one in enumerate(found) if one in found[:place]]
        if twice:
            raise Violation(f"examples() gives {twice[0]!r} twice; is one of its options lost?")
        return found
    needed = [name for name, default in entry.options.items() if default is inspect.Parameter.empty]
    if needed:
        raise Violation(
            f"It cannot be made without {', '.join(needed)}; give the options defaults, or the class a class method "
            "examples() that returns a list of objects to check."
        )
    return [entry.cls()]


def can_be_made(registered: Registered) -> None:
    """A registered class can be made without options, or gives objects to try in `examples()`."""
    examples_of(registered.entry)


def says_what_it_does(registered: Registered) -> None:
    """The first line of a component's documentation says what it does: a sentence of at most 120 characters."""
    summary = registered.entry.summary
    if not inspect.cleandoc(registered.entry.cls.__dict__.get("__doc__") or "") or not summary.endswith((".", ":")):
        raise Violation(f"It is {summary!r}; write a docstring whose first line is a sentence with a full stop.")
    if len(summary) > 120:
        raise Violation(f"It has {len(summary)} characters: {summary!r}")
    if summary.startswith(f"{registered.entry.cls.__name__}("):
        raise Violation(f"It is {summary!r}, which @dataclass wrote; write a docstring.")


def is_read_back_from_text(registered: Registered) -> None:
    """A component is made from its name and options as text, on the command line and in a policy."""
    kind, registry = registered.entry.kind, registered.registry
    for component in examples_of(registered.entry):
        text = registry.spec_of(kind, component)
        if text is None or registry.create(kind, text) != component:
            raise Violation(f"{component!r} is written as {text!r}, which is read back as something else.")


def fits_into_a_policy(registered: Registered) -> None:
    """A policy with the component survives JSON, and prints as it is built."""
    kind = registered.entry.kind
    if kind == "adapter":
        return
    for component in examples_of(registered.entry):
        policy = Policy(**{kind: component})
        read = Policy.from_dict(json.loads(json.dumps(policy.to_dict())))
        if read != policy:
            raise Violation(f"{policy!r} is read back as {read!r}.")
        if eval(repr(policy), {"Policy": Policy}) != policy:
            raise Violation(f"Evaluating {policy!r} gives another policy.")


def gives_an_example(registered: Registered) -> None:
    """An adapter brings a tiny model and inputs to try it on: a static method `example()`."""
    example_of(registered.entry)


def example_of(entry: Entry) -> tuple[Any, Any]:
    """A tiny model that an adapter knows, and the keyword arguments of one forward.

    Raises:
        Violation: it brings none.
    """
    if entry.name in ROWS:
        return tiny(entry.name)
    if not hasattr(entry.cls, "example"):
        raise Violation(
            "Give it a static method example() that returns a tiny model in evaluation mode and a mapping with the "
            "keyword arguments of one forward, for a batch of two or more images."
        )
    model, inputs = entry.cls.example()
    return model, inputs


def laws(registered: Registered) -> list[Law]:
    """The laws of being registered, for this component."""
    special = (gives_an_example,) if registered.entry.kind == "adapter" else ()
    return [Law(registered.entry.kind, registered, law) for law in (*LAWS, *special)]


LAWS = (can_be_made, says_what_it_does, is_read_back_from_text, fits_into_a_policy)
"""What holds for every registered component."""
