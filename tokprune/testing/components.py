"""Laws of every component: it is a value, frozen, and can be written down."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

from tokprune.specs import format_spec, parse_spec
from tokprune.testing.failures import Violation


def is_frozen(component: Any, *context: object) -> None:
    """A component is an instance of a frozen dataclass whose fields are its options."""
    if isinstance(component, type):
        raise Violation(f"{component.__name__} is a class; give an object: {component.__name__}(...)")
    parameters = getattr(component, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise Violation(f"Write @dataclass(frozen=True) above class {type(component).__name__}.")


def is_hashable(component: Any, *context: object) -> None:
    """A component can be hashed, so that a policy can."""
    hash(component)


def repr_evaluates_back(component: Any, *context: object) -> None:
    """A component prints as it is built."""
    built = eval(repr(component), {type(component).__name__: type(component)})  # the text comes from the component
    if built != component:
        raise Violation(f"Evaluating its text gives {built!r}, which is not equal to it.")


def copies_are_equal(component: Any, *context: object) -> None:
    """A component can be pickled and deep-copied, and the copy equals it."""
    for how, copied in (("pickle", pickle.loads(pickle.dumps(component))), ("deepcopy", copy.deepcopy(component))):
        if copied != component:
            raise Violation(f"After {how} it is {copied!r}.")


def options_survive_as_text(component: Any, *context: object) -> None:
    """A component's options can be written as text ("name:option=value") and read back."""
    options = {f.name: getattr(component, f.name) for f in dataclasses.fields(component) if f.init}
    text = format_spec("component", options)
    read = type(component)(**parse_spec(text)[1])
    if read != component:
        raise Violation(f"Written as {text!r}, it is read back as {read!r}.")


LAWS = (is_frozen, is_hashable, repr_evaluates_back, copies_are_equal, options_survive_as_text)
"""What holds for components of every kind."""
