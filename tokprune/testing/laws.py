"""A law: what has to hold for a component, in words that a broken one is reported with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tokprune.testing.failures import Violation


@dataclass(frozen=True, eq=False)
class Law:
    """One law, to be checked on one component.

    Attributes:
        kind: what the component is.
        component: the object.
        function: raises `Violation` if the law is broken; its docstring is the law in words.
        context: what the function gets besides the component.
    """

    kind: str
    component: object
    function: Callable[..., None]
    context: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        """The law in a few words with hyphens between them."""
        return self.function.__name__.replace("_", "-")

    @property
    def sentence(self) -> str:
        """The law in words."""
        return (inspect.getdoc(self.function) or self.name).partition("\n")[0].rstrip(".") + "."

    def check(self) -> None:
        """Raise an `AssertionError` if the law is broken: the law in words, and the example that broke it."""
        __tracebackhide__ = True  # pytest then shows the message, not this
        head = f"{self.kind} {_named(self.component)} breaks a law: {self.sentence}"
        try:
            self.function(self.component, *self.context)
        except Violation as broken:
            raise AssertionError(f"{head}\n{broken}") from None
        except Exception as error:
            raise AssertionError(f"{head}\nIt raised {type(error).__name__}: {error}") from error


def check_all(laws: Iterable[Law]) -> None:
    """Check laws in order.

    Raises:
        AssertionError: the first law that is broken, in words, with the example that broke it.
    """
    __tracebackhide__ = True
    for law in laws:
        law.check()


def _named(component: object) -> str:
    try:
        return repr(component)
    except Exception:  # a faulty component may fail to print too, and the law it breaks must still be named
        return f"of class {type(component).__name__}"
