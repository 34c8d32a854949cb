"""How a check fails: the law in words, the component, and the smallest example that breaks it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


class Violation(Exception):
    """A component broke the law that is being checked; the message shows the example."""


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
        """The law in a few words parted by hyphens."""
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


def shown(value: object, limit: int = 160) -> str:
    """A value for a message: tensors as short nested lists."""
    if not isinstance(value, Tensor):
        return f"{value!r}"[:limit]
    text = str([_rounded(v) for v in value.tolist()] if value.dim() else _rounded(value.item()))
    return text if len(text) <= limit else f"{text[:limit]}... (shape {tuple(value.shape)})"


def same(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors have one shape and one content, bit for bit."""
    return found.shape == expected.shape and bool((found == expected).all())


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Whether two tensors agree up to `tolerance`, relative to the largest expected number."""
    if found.shape != expected.shape:
        return False
    found, expected = found.double(), expected.double()
    scale = expected.abs().max().clamp(min=1e-30) if expected.numel() else 1.0
    return bool(((found - expected).abs() <= tolerance * scale).all())


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _named(component: object) -> str:
    try:
        return repr(component)
    except Exception:  # a faulty component may fail to print too, and the law it breaks must still be named
        return f"of class {type(component).__name__}"
